//! How a command fails: one line with what, and a line with help.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::process::ExitCode;

use crate::client::ClientError;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    help: Option<String>,
    /// Printed before the message, one after the other.
    details: Vec<String>,
    /// The process's exit code.
    pub(super) code: u8,
}

/// What commands give.
pub(super) type Outcome = Result<(), Failure>;

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            details: Vec::new(),
            code: 1,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    pub(super) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Prints it, and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        eprint!("{}", self.text(std::io::stderr().is_terminal()));
        ExitCode::from(self.code)
    }

    fn text(&self, colours: bool) -> String {
        let (bold, plain) = if colours {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        let mut text = String::new();
        for detail in &self.details {
            let _ = writeln!(text, "{detail}\n");
        }
        let _ = writeln!(text, "{bold}orlop:{plain} {}", self.message);
        if let Some(help) = &self.help {
            let _ = writeln!(text, "  help: {help}");
        }
        text
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let details = match &error {
            ClientError::Api(error) => error.diagnostics.iter().map(ToString::to_string).collect(),
            ClientError::Connect { .. }
            | ClientError::Resolve { .. }
            | ClientError::Credentials { .. }
            | ClientError::Broken { .. }
            | ClientError::Timeout { .. }
            | ClientError::Protocol(_)
            | ClientError::File { .. }
            | ClientError::Bundle { .. } => Vec::new(),
        };
        Self {
            message: error.to_string(),
            help: error.help(),
            details,
            code: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ApiError, Diagnostic};

    #[test]
    fn says_what_where_and_how_to_mend() {
        let diagnostic = Diagnostic {
            file: "web.toml".into(),
            line: 3,
            column: 7,
            message: "unknown key `imge`".into(),
            help: Some("did you mean `image`?".into()),
        };
        let failure = Failure::from(ClientError::Api(ApiError::rejected(vec![diagnostic])));
        assert_eq!(
            failure.text(false),
            "web.toml:3:7: unknown key `imge`\n  help: did you mean `image`?\n\n\
             orlop: 1 error in unit files; nothing changed\n"
        );
        let failure = Failure::from(ClientError::Api(ApiError::unit_not_found("wep")));
        assert_eq!(
            failure.text(false),
            "orlop: no unit is named \"wep\"\n  help: `orlop ps` lists this host's units\n"
        );
    }
}
