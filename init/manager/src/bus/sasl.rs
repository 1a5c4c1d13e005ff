//! The server's side of D-Bus authentication (D-Bus Specification,
//! "Authentication Protocol"), for clients that are authorised by holding the
//! socket.
//!
//! EXTERNAL is taken whatever user id it claims: a client in a container's user
//! namespace claims an id of that namespace, and the kernel reports another.
//! ANONYMOUS is taken as well.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest line, in bytes.
const LINE_SIZE_MAX: usize = 1024;
/// How many lines a client may need.
const LINES_MAX: usize = 16;

/// Takes a client up to and including `BEGIN`, and nothing of what follows it.
pub(super) async fn greet<S>(stream: &mut S, guid: &str) -> io::Result<()>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    if stream.read_u8().await? != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the first byte is not NUL",
        ));
    }
    let mut step = Step::Auth;
    for _ in 0..LINES_MAX {
        let line = line(stream).await?;
        let (answer, next) = step.take(&line, guid);
        step = next;
        if step == Step::Begun {
            return Ok(());
        }
        stream.write_all(answer.as_bytes()).await?;
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "too many lines before BEGIN",
    ))
}

/// One line without its end. Byte for byte: what follows BEGIN is not ours.
async fn line<S: AsyncReadExt + Unpin>(stream: &mut S) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_SIZE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line is too long",
            ));
        }
        line.push(stream.read_u8().await?);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// What is expected of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A mechanism.
    Auth,
    /// The identity that goes with it.
    Data,
    /// The beginning of messages.
    Begin,
    /// Messages follow.
    Begun,
}

impl Step {
    /// The answer to a line, and what is expected next.
    fn take(self, line: &str, guid: &str) -> (String, Step) {
        let mut words = line.split_ascii_whitespace();
        let command = words.next().unwrap_or_default();
        let rejected = || "REJECTED EXTERNAL ANONYMOUS\r\n".to_owned();
        let taken = || format!("OK {guid}\r\n");
        match (self, command) {
            (Step::Auth, "AUTH") => match (words.next(), words.next()) {
                (Some("EXTERNAL" | "ANONYMOUS"), Some(_)) => (taken(), Step::Begin),
                (Some("EXTERNAL" | "ANONYMOUS"), None) => ("DATA\r\n".to_owned(), Step::Data),
                (Some(_) | None, _) => (rejected(), Step::Auth),
            },
            (Step::Data, "DATA") => (taken(), Step::Begin),
            (Step::Begin, "BEGIN") => (String::new(), Step::Begun),
            (Step::Begin, "NEGOTIATE_UNIX_FD") => (
                "ERROR no descriptors are passed here\r\n".to_owned(),
                Step::Begin,
            ),
            (Step::Data | Step::Begin, "CANCEL" | "ERROR") => (rejected(), Step::Auth),
            (Step::Auth, "ERROR") => (rejected(), Step::Auth),
            (step, _) => ("ERROR not expected here\r\n".to_owned(), step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn talk(said: &[u8]) -> (io::Result<()>, String, Vec<u8>) {
        let (mut client, mut server) = tokio::io::duplex(64 * 1024);
        client.write_all(said).await.unwrap();
        client.shutdown().await.unwrap();
        let outcome = greet(&mut server, "guid").await;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        drop(server);
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        (outcome, answers, rest)
    }

    #[tokio::test]
    async fn clients_of_all_kinds_get_in() {
        let rejected = "REJECTED EXTERNAL ANONYMOUS\r\n";
        for (said, answers) in [
            ("AUTH EXTERNAL 30\r\nBEGIN\r\n", "OK guid\r\n".to_owned()),
            // Another user namespace's idea of who it is.
            (
                "AUTH EXTERNAL 313030303030\r\nBEGIN\r\n",
                "OK guid\r\n".to_owned(),
            ),
            (
                "AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n",
                "DATA\r\nOK guid\r\n".to_owned(),
            ),
            (
                "AUTH\r\nAUTH ANONYMOUS 6f\r\nBEGIN\r\n",
                format!("{rejected}OK guid\r\n"),
            ),
            (
                "AUTH DBUS_COOKIE_SHA1 30\r\nAUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n",
                format!("{rejected}OK guid\r\nERROR no descriptors are passed here\r\n"),
            ),
        ] {
            let said = format!("\0{said}l-message");
            let (outcome, heard, rest) = talk(said.as_bytes()).await;
            outcome.unwrap();
            assert_eq!(heard, answers, "{said:?}");
            assert_eq!(rest, b"l-message", "{said:?}");
        }
    }

    #[tokio::test]
    async fn nonsense_ends_early() {
        let long = format!("\0{}", "A".repeat(3000));
        let many = format!("\0{}", "AUTH\r\n".repeat(40));
        for said in [
            "",
            "GET / HTTP/1.1\r\n",
            "\0BEGIN\r\n",
            "\0\u{e4}\r\n",
            &long,
            &many,
        ] {
            assert!(talk(said.as_bytes()).await.0.is_err(), "{said:?}");
        }
        let (outcome, answers, _) = talk(b"\0BEGIN\r\n").await;
        assert!(outcome.is_err());
        assert!(answers.starts_with("ERROR"), "{answers}");
    }
}
