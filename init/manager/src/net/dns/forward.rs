//! Passing a question on to the uplink's name servers.
//!
//! The question goes as it is, but for its number, from a socket of its own:
//! number and port are random, and an answer counts only with both and with
//! the same question in it (RFC 5452).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rustix::rand::GetRandomFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::{PORT, QUESTION_BYTES_MAX};

/// How long one server has; a client asks again after five seconds.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The most servers that are asked for one question.
const SERVERS_MAX: usize = 3;
/// Header of a message: the number is its first two bytes (RFC 1035 4.1.1).
const HEADER_BYTES: usize = 12;

/// The first answer of the servers, asked in turn.
pub(super) async fn udp(question: &[u8], servers: &[IpAddr]) -> Option<Vec<u8>> {
    for server in servers.iter().take(SERVERS_MAX) {
        match tokio::time::timeout(PATIENCE, ask_udp(question, *server)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "name server does not answer"),
            Err(_) => tracing::debug!(%server, "name server does not answer in time"),
        }
    }
    None
}

/// As [`udp`], for questions that came by TCP.
pub(super) async fn tcp(question: &[u8], servers: &[IpAddr]) -> Option<Vec<u8>> {
    for server in servers.iter().take(SERVERS_MAX) {
        match tokio::time::timeout(PATIENCE * 2, ask_tcp(question, *server)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "name server does not answer"),
            Err(_) => tracing::debug!(%server, "name server does not answer in time"),
        }
    }
    None
}

async fn ask_udp(question: &[u8], server: IpAddr) -> io::Result<Vec<u8>> {
    let asked = renumber(question)?;
    // The port is the kernel's random choice, and only this server's answers
    // get in.
    let own: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((own, 0)).await?;
    socket.connect((server, PORT)).await?;
    socket.send(&asked).await?;
    let mut buffer = vec![0; QUESTION_BYTES_MAX + 1];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if length > QUESTION_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer is too long",
            ));
        }
        if let Some(answer) = accept(&buffer[..length], &asked, question) {
            return Ok(answer);
        }
    }
}

async fn ask_tcp(question: &[u8], server: IpAddr) -> io::Result<Vec<u8>> {
    let asked = renumber(question)?;
    let mut stream = TcpStream::connect((server, PORT)).await?;
    let length = u16::try_from(asked.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(&asked);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the answer is to another question",
        )
    };
    accept(&answer, &asked, question).ok_or_else(wrong)
}

fn renumber(question: &[u8]) -> io::Result<Vec<u8>> {
    let mut asked = question.to_vec();
    let number = asked.get_mut(..2).ok_or(io::ErrorKind::InvalidInput)?;
    let filled = rustix::rand::getrandom(&mut *number, GetRandomFlags::empty())?;
    if filled != number.len() {
        return Err(io::Error::other("no random numbers"));
    }
    Ok(asked)
}

/// The answer with the client's number, if it is one to `asked`: a response,
/// with our number and, letter case aside, our question.
fn accept(answer: &[u8], asked: &[u8], question: &[u8]) -> Option<Vec<u8>> {
    let name_and_kind = question_length(asked)?;
    let same_number = answer.get(..2)? == asked.get(..2)?;
    let is_response = answer.get(2)? & 0x80 != 0;
    let there = answer.get(HEADER_BYTES..HEADER_BYTES + name_and_kind);
    let here = asked.get(HEADER_BYTES..HEADER_BYTES + name_and_kind)?;
    // A server that could not read the question leaves it out.
    let left_out = answer.get(4..6)? == [0, 0];
    let same_question = left_out || there?.eq_ignore_ascii_case(here);
    if !(same_number && is_response && same_question) {
        return None;
    }
    let mut answer = answer.to_vec();
    answer.get_mut(..2)?.copy_from_slice(question.get(..2)?);
    Some(answer)
}

/// Length of the first question: labels up to the empty one, type and class.
/// A question has no earlier name to be compressed with.
fn question_length(message: &[u8]) -> Option<usize> {
    let mut at = HEADER_BYTES;
    loop {
        let label = usize::from(*message.get(at)?);
        if label > 63 {
            return None;
        }
        at += 1 + label;
        if label == 0 {
            return Some(at + 4 - HEADER_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u16, response: bool, name: &str) -> Vec<u8> {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend([if response { 0x80 } else { 0 }, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.extend([0, 0, 1, 0, 1]);
        bytes
    }

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let question = message(7, false, "debian.org");
        let asked = message(9, false, "debian.org");
        let answers = [
            (message(9, true, "debian.org"), true, "an answer"),
            (message(9, true, "DEBIAN.org"), true, "letter case"),
            (message(8, true, "debian.org"), false, "another number"),
            (message(9, false, "debian.org"), false, "a question"),
            (message(9, true, "debian.net"), false, "another name"),
            (
                message(9, true, "debian.org")[..20].to_vec(),
                false,
                "cut short",
            ),
            (vec![], false, "nothing"),
        ];
        for (answer, expected, what) in answers {
            let accepted = accept(&answer, &asked, &question);
            assert_eq!(accepted.is_some(), expected, "{what}");
            if let Some(accepted) = accepted {
                assert_eq!(accepted[..2], question[..2], "{what}");
            }
        }
    }
}
