//! Uplink, bridge, veth pairs, packet filter and the name server of the bridge.
