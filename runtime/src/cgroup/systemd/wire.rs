//! D-Bus messages as bytes. Pure.
//!
//! No library is behind it. Their connections claim the user id that this process sees, which a
//! bus refuses from inside a user namespace (libdbus, rustbus, zbus), or want an executor
//! (zbus); and the codec alone, zbus's, made the whole program a tenth larger, for five calls.
//!
//! Everything is aligned to its own size, counted from the beginning of the message, and
//! structures to 8 bytes, at which the arguments begin.

use anyhow::{Context, Result, bail, ensure};

use super::properties::{Property, Value};

/// The part of the header whose length is known.
pub(super) const FIXED: usize = 16;

/// No answer that we ask for comes near, and no header of what systemd says.
pub(super) const LONGEST: usize = 1 << 20;

/// The specification's own, of an array (which the fields are) and of a whole message.
const LONGEST_FIELDS: usize = 64 << 20;
const LONGEST_MESSAGE: usize = 128 << 20;

/// How deep the specification lets values be in each other.
const DEEPEST: usize = 64;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Whom a call is for, and what it calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
    pub(super) member: &'static str,
}

/// What comes over a bus, as far as it is of use here.
#[derive(Debug)]
pub(super) enum Incoming {
    /// An answer to the call with this number.
    Answer(u32, Body),
    /// An error for the call with this number: its name, and what it says.
    Error(u32, String, String),
    /// A signal: its interface, its name.
    Signal(String, String, Body),
    Other,
}

/// Bytes that grow. Our own byte order is the little one.
#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.align(8);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        // What the kernel lets us be started with is far shorter than that.
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// Signatures here are our own, and a few bytes long.
    fn signature(&mut self, signature: &str) {
        self.0
            .push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    /// The length that stands before an array does not count what aligns its first element.
    fn array(&mut self, align: usize, elements: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let at = self.0.len();
        self.align(align);
        let start = self.0.len();
        elements(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.0[at - 4..at].copy_from_slice(&length.to_le_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(match value {
            Value::Bool(_) => "b",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Device(..) => "a(st)",
        });
        match value {
            Value::Bool(yes) => self.u32((*yes).into()),
            Value::I32(number) => self.u32(number.cast_unsigned()),
            Value::U32(number) => self.u32(*number),
            Value::I64(number) => self.u64(number.cast_unsigned()),
            Value::U64(number) => self.u64(*number),
            Value::Text(text) => self.text(text),
            Value::Texts(texts) => self.array(4, |to| texts.iter().for_each(|t| to.text(t))),
            Value::Numbers(all) => self.array(4, |to| all.iter().for_each(|n| to.u32(*n))),
            Value::Bytes(bytes) => self.array(1, |to| to.0.extend_from_slice(bytes)),
            Value::Device(device, number) => self.array(8, |to| {
                to.text(device);
                to.u64(*number);
            }),
        }
    }
}

/// The arguments of a call, one after another.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    signature: String,
    bytes: Writer,
}

impl Arguments {
    pub(super) fn text(mut self, text: &str) -> Arguments {
        self.signature.push('s');
        self.bytes.text(text);
        self
    }

    pub(super) fn yes(mut self) -> Arguments {
        self.signature.push('b');
        self.bytes.u32(1);
        self
    }

    pub(super) fn numbers(mut self, numbers: &[u32]) -> Arguments {
        self.signature.push_str("au");
        let put = |to: &mut Writer| numbers.iter().for_each(|number| to.u32(*number));
        self.bytes.array(4, put);
        self
    }

    pub(super) fn properties(mut self, properties: &[Property]) -> Arguments {
        self.signature.push_str("a(sv)");
        self.bytes.array(8, |to| {
            for (name, value) in properties {
                to.align(8);
                to.text(name);
                to.variant(value);
            }
        });
        self
    }

    /// Units that come along with another: none.
    pub(super) fn no_units(mut self) -> Arguments {
        self.signature.push_str("a(sa(sv))");
        self.bytes.array(8, |_| {});
        self
    }
}

/// The bytes of a call.
pub(super) fn encode(serial: u32, call: Call, arguments: &Arguments) -> Result<Vec<u8>> {
    let mut bytes = Writer(vec![b'l', METHOD_CALL, 0, 1]);
    let body = &arguments.bytes.0;
    ensure!(body.len() <= LONGEST, "a call of {} bytes", body.len());
    bytes.u32(u32::try_from(body.len())?);
    bytes.u32(serial);
    bytes.array(8, |to| {
        let mut field = |code, kind, value| {
            to.align(8);
            to.0.push(code);
            to.signature(kind);
            if kind == "g" {
                to.signature(value);
            } else {
                to.text(value);
            }
        };
        field(1, "o", call.path);
        field(2, "s", call.interface);
        field(3, "s", call.member);
        field(6, "s", call.destination);
        if !arguments.signature.is_empty() {
            field(8, "g", &arguments.signature);
        }
    });
    bytes.align(8);
    bytes.0.extend_from_slice(body);
    Ok(bytes.0)
}

/// The arguments of a message that came.
#[derive(Debug)]
pub(super) struct Body {
    signature: String,
    bytes: Vec<u8>,
    is_big: bool,
}

impl Body {
    /// An object's path.
    pub(super) fn object(&self) -> Result<String> {
        self.reader("o")?.text().map(str::to_owned)
    }

    pub(super) fn text(&self) -> Result<String> {
        self.reader("s")?.text().map(str::to_owned)
    }

    /// A text in a variant, as a property has it.
    pub(super) fn variant(&self) -> Result<String> {
        let mut reader = self.reader("v")?;
        let kind = reader.signature()?;
        ensure!(kind == "s", "{kind:?} where a text was expected");
        reader.text().map(str::to_owned)
    }

    /// Path and result of a job that is done.
    pub(super) fn removed_job(&self) -> Result<(String, String)> {
        let mut reader = self.reader("uoss")?;
        reader.u32()?;
        let job = reader.text()?.to_owned();
        reader.text()?;
        Ok((job, reader.text()?.to_owned()))
    }

    fn reader(&self, signature: &str) -> Result<Reader<'_>> {
        let got = &self.signature;
        ensure!(got == signature, "{got:?} where {signature:?} was expected");
        Ok(Reader {
            bytes: &self.bytes,
            at: 0,
            is_big: self.is_big,
        })
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    is_big: bool,
}

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8]> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        self.at += length;
        taken.context("a D-Bus message that ends too early")
    }

    fn u32(&mut self) -> Result<u32> {
        self.at = self.at.next_multiple_of(4);
        let bytes = self.take(4)?.try_into()?;
        Ok(if self.is_big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    /// With the zero after it.
    fn string(&mut self, length: usize) -> Result<&'b str> {
        let text = self.take(length)?;
        self.take(1)?;
        Ok(std::str::from_utf8(text)?)
    }

    fn text(&mut self) -> Result<&'b str> {
        let length = self.u32()?;
        self.string(length as usize)
    }

    fn signature(&mut self) -> Result<&'b str> {
        let length = self.take(1)?[0];
        self.string(length.into())
    }

    fn aligned(&mut self, to: usize, length: usize) -> Result<&'b [u8]> {
        self.at = self.at.next_multiple_of(to);
        self.take(length)
    }

    /// Passes over values of any types, `deepest` of them in each other.
    fn pass(&mut self, mut signature: &[u8], deepest: usize) -> Result<()> {
        let deeper = deepest
            .checked_sub(1)
            .context("values too deep in others")?;
        while let Some(kind) = signature.first() {
            let rest = after_one(signature)?;
            let one = &signature[..signature.len() - rest.len()];
            match kind {
                b'y' => self.aligned(1, 1).map(drop)?,
                b'n' | b'q' => self.aligned(2, 2).map(drop)?,
                b'b' | b'i' | b'u' | b'h' => self.aligned(4, 4).map(drop)?,
                b'x' | b't' | b'd' => self.aligned(8, 8).map(drop)?,
                b's' | b'o' => self.text().map(drop)?,
                b'g' => self.signature().map(drop)?,
                b'v' => {
                    let inner = self.signature()?;
                    self.pass(inner.as_bytes(), deeper)?;
                }
                b'a' => {
                    let length = self.u32()? as usize;
                    self.aligned(alignment(one.get(1)), length)?;
                }
                b'(' | b'{' => {
                    self.aligned(8, 0)?;
                    self.pass(&one[1..one.len() - 1], deeper)?;
                }
                other => bail!("a value of type {:?}", char::from(*other)),
            }
            signature = rest;
        }
        Ok(())
    }
}

/// What the first element of an array is aligned to, before which nothing counts as its.
fn alignment(kind: Option<&u8>) -> usize {
    match kind {
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        Some(b'n' | b'q') => 2,
        Some(b'y' | b'g' | b'v') | None => 1,
        Some(_) => 4,
    }
}

/// How many bytes follow the fixed part of a header: the fields with what aligns the arguments
/// after them, and the arguments.
pub(super) fn lengths(fixed: &[u8; FIXED]) -> Result<(usize, usize)> {
    let number = |at| {
        let is_big = fixed[0] == b'B';
        let mut reader = Reader {
            bytes: fixed,
            at,
            is_big,
        };
        reader.u32().map(|number| number as usize)
    };
    let (body, fields) = (number(4)?, number(12)?);
    let whole = fields.next_multiple_of(8).saturating_add(body);
    ensure!(
        [b'l', b'B'].contains(&fixed[0])
            && fixed[3] == 1
            && fields <= LONGEST_FIELDS
            && whole <= LONGEST_MESSAGE,
        "that is no D-Bus message"
    );
    Ok((fields.next_multiple_of(8), body))
}

/// What stands before the arguments of a message that came, as far as it is of use here.
#[derive(Debug)]
pub(super) struct Head<'b> {
    kind: u8,
    is_big: bool,
    answered: Option<u32>,
    interface: &'b str,
    member: &'b str,
    error: &'b str,
    /// Who sent it, by the name that the bus gave; the bus itself writes it here.
    pub(super) sender: &'b str,
    signature: &'b str,
}

impl<'b> Head<'b> {
    /// Of the fixed part and the fields. A field that is not known is, as the specification
    /// wants it, passed over.
    pub(super) fn of(bytes: &'b [u8]) -> Result<Head<'b>> {
        let (order, kind) = match bytes {
            [order, kind, ..] => (*order, *kind),
            [] | [_] => bail!("that is no D-Bus message"),
        };
        let is_big = order == b'B';
        let mut reader = Reader {
            bytes,
            at: 12,
            is_big,
        };
        let end = FIXED + reader.u32()? as usize;
        let mut head = Head {
            kind,
            is_big,
            answered: None,
            interface: "",
            member: "",
            error: "",
            sender: "",
            signature: "",
        };
        while reader.at < end {
            reader.at = reader.at.next_multiple_of(8);
            let code = reader.take(1)?[0];
            match (code, reader.signature()?) {
                (2, "s") => head.interface = reader.text()?,
                (3, "s") => head.member = reader.text()?,
                (4, "s") => head.error = reader.text()?,
                (5, "u") => head.answered = Some(reader.u32()?),
                (7, "s") => head.sender = reader.text()?,
                (8, "g") => head.signature = reader.signature()?,
                (_, other) => reader.pass(other.as_bytes(), DEEPEST)?,
            }
        }
        Ok(head)
    }

    /// With the arguments, the whole message.
    pub(super) fn incoming(&self, bytes: Vec<u8>) -> Incoming {
        let body = Body {
            signature: self.signature.to_owned(),
            bytes,
            is_big: self.is_big,
        };
        match (self.kind, self.answered) {
            (METHOD_RETURN, Some(serial)) => Incoming::Answer(serial, body),
            (ERROR, Some(serial)) => {
                // What it says may be missing.
                let said = body.reader("s").and_then(|mut reader| reader.text());
                let said = said.unwrap_or_default().to_owned();
                Incoming::Error(serial, self.error.to_owned(), said)
            }
            (SIGNAL, _) => {
                Incoming::Signal(self.interface.to_owned(), self.member.to_owned(), body)
            }
            _ => Incoming::Other,
        }
    }
}

/// What is left of a signature after its first whole type.
fn after_one(signature: &[u8]) -> Result<&[u8]> {
    let mut open = 0_usize;
    for (at, kind) in signature.iter().enumerate() {
        match kind {
            b'a' => continue,
            b'(' | b'{' => open += 1,
            b')' | b'}' => open = open.checked_sub(1).context("a type that only ends")?,
            _ => {}
        }
        if open == 0 {
            return Ok(&signature[at + 1..]);
        }
    }
    bail!("a type without its end")
}

#[cfg(test)]
mod tests;
