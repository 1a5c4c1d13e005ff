//! Our own terminal, raw while a command in a container has it.

use std::io::{self, IsTerminal};

/// Keeps the terminal raw; it is as before when this is dropped.
pub(super) struct Raw(());

impl Raw {
    /// Makes the terminal raw: every key goes to the command, Ctrl-C included.
    pub(super) fn enter() -> io::Result<Self> {
        // A release build aborts on panic, without dropping anything.
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = crossterm::terminal::disable_raw_mode();
            report(panic);
        }));
        crossterm::terminal::enable_raw_mode()?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

/// Rows and columns of the terminal; zeroes where there is none.
pub(super) fn size() -> (u16, u16) {
    if !io::stdout().is_terminal() && !io::stdin().is_terminal() {
        return (0, 0);
    }
    crossterm::terminal::size().map_or((0, 0), |(cols, rows)| (rows, cols))
}
