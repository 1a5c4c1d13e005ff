//! PID 1: boots the image, keeps the manager running, reaps, shuts down.
