//! The little of GDB's remote protocol that it takes to hang a guest.
//!
//! Source: the GDB manual's "Remote Serial Protocol"; registers as QEMU numbers
//! them for x86-64.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

const RIP: u8 = 0x10;
const EFLAGS: u8 = 0x11;
/// The interrupt flag.
const IF: u32 = 1 << 9;
/// `jmp` to itself.
const JUMP_TO_ITSELF: &str = "ebfe";

/// A connection to QEMU's GDB server; the guest stands still while there is one.
pub struct Gdb {
    reader: BufReader<UnixStream>,
}

impl Gdb {
    /// QEMU's arguments for a server at `socket`.
    pub fn arguments(socket: &Path) -> [String; 4] {
        let path = socket.display();
        [
            "-chardev".into(),
            format!("socket,id=gdb,path={path},server=on,wait=off"),
            "-gdb".into(),
            "chardev:gdb".into(),
        ]
    }

    /// Connects, which stops the guest.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub fn connect(socket: &Path) -> Result<Gdb> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot reach QEMU at {}", socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Gdb {
            reader: BufReader::new(stream),
        })
    }

    /// Hangs every processor where it stands, in an endless loop or asleep, with
    /// interrupts off, and lets the guest go on like that. The machine's devices
    /// and its clock run on.
    ///
    /// # Errors
    ///
    /// When QEMU refuses a step.
    pub fn hang_processors(mut self) -> Result<()> {
        // Before it is asked for its registers' names QEMU gives them all or none.
        self.ask("qXfer:features:read:target.xml:0,ff")?;
        let mut threads = Vec::new();
        let mut answer = self.ask("qfThreadInfo")?;
        while let Some(found) = answer.strip_prefix('m') {
            threads.extend(found.split(',').map(str::to_owned));
            answer = self.ask("qsThreadInfo")?;
        }
        ensure!(!threads.is_empty(), "QEMU knows no processor");
        for thread in threads {
            self.expect_ok(&format!("Hg{thread}"))?;
            let place = u64::from_le_bytes(self.register(RIP)?);
            let flags = u32::from_le_bytes(self.register(EFLAGS)?) & !IF;
            self.expect_ok(&format!("M{place:x},2:{JUMP_TO_ITSELF}"))?;
            self.expect_ok(&format!("P{EFLAGS:x}={:08x}", flags.swap_bytes()))?;
        }
        self.expect_ok("D")
    }

    fn register<const BYTES: usize>(&mut self, number: u8) -> Result<[u8; BYTES]> {
        let text = self.ask(&format!("p{number:x}"))?;
        let byte = |at: usize| {
            let digits = text.get(at * 2..at * 2 + 2).context("too short")?;
            Ok(u8::from_str_radix(digits, 16)?)
        };
        let bytes: Result<Vec<u8>> = (0..BYTES).map(byte).collect();
        let bytes = bytes.with_context(|| format!("register {number}: {text:?}"))?;
        bytes
            .try_into()
            .map_err(|_| anyhow::anyhow!("register {number}"))
    }

    fn expect_ok(&mut self, packet: &str) -> Result<()> {
        match self.ask(packet)?.as_str() {
            "OK" => Ok(()),
            other => bail!("QEMU's answer to {packet} is {other:?}"),
        }
    }

    /// Sends `packet` and gives the answer.
    fn ask(&mut self, packet: &str) -> Result<String> {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.reader.get_mut(), "${packet}#{sum:02x}")?;
        loop {
            let answer = self.packet()?;
            // Nobody asked for the news that the guest stands still.
            if !answer.starts_with(['S', 'T']) {
                return Ok(answer);
            }
        }
    }

    /// The next `$TEXT#` and its two digits.
    fn packet(&mut self) -> Result<String> {
        let mut text = Vec::new();
        self.reader.read_until(b'$', &mut text)?;
        text.clear();
        self.reader.read_until(b'#', &mut text)?;
        let whole = text.pop() == Some(b'#');
        ensure!(whole, "QEMU closed its debugger's socket");
        self.reader.read_exact(&mut [0; 2])?;
        self.reader.get_mut().write_all(b"+")?;
        Ok(String::from_utf8(text)?)
    }
}
