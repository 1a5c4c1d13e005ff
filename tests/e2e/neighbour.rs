//! A neighbour on the guest's own network segment, made of raw Ethernet frames.
//!
//! QEMU's hub joins the guest's card, its user network and a socket that
//! carries frames to this process, so that the tests can send what no honest
//! router would: packets straight into the container subnet.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, NetSlice, PacketBuilder, SlicedPacket,
    TransportSlice,
};

/// The neighbour's own addresses, on QEMU's user network.
const MAC: [u8; 6] = [0x52, 0x54, 0, 0xaa, 0xbb, 0xcc];
const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

/// The source port of every probe.
const SOURCE_PORT: u16 = 45_454;

/// What came back for a TCP SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Somebody accepts connections there.
    Accepted,
    /// The packet arrived and was refused.
    Refused,
    /// Nothing: it was dropped.
    Silence,
}

/// The neighbour.
pub(crate) struct Neighbour {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Neighbour {
    /// Plugs into the socket that QEMU listens on.
    pub(crate) fn plug_in(port: u16) -> Result<Neighbour> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("QEMU's frame socket")?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(Neighbour {
            stream,
            pending: Vec::new(),
        })
    }

    /// Asks who has `ip`.
    pub(crate) fn mac_of(&mut self, ip: Ipv4Addr) -> Result<[u8; 6]> {
        let question = arp(ArpOperation::REQUEST, [0; 6], ip)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            self.send(&ethernet([0xff; 6], EtherType::ARP, &question))?;
            let until = Instant::now() + Duration::from_millis(500);
            while let Some(frame) = self.receive(until)? {
                if let Some(mac) = arp_answer(&frame, ip) {
                    return Ok(mac);
                }
            }
        }
        bail!("nobody on the segment answers for {ip}")
    }

    /// Sends a TCP SYN for `ip:port` to the station `via`, several times, and
    /// reports the first answer within `patience`.
    pub(crate) fn knock(
        &mut self,
        via: [u8; 6],
        ip: Ipv4Addr,
        port: u16,
        patience: Duration,
    ) -> Result<Answer> {
        let mut syn = Vec::new();
        PacketBuilder::ethernet2(MAC, via)
            .ipv4(IP.octets(), ip.octets(), 64)
            .tcp(SOURCE_PORT, port, 1000, 64_240)
            .syn()
            .write(&mut syn, &[])?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            self.send(&syn)?;
            let until = deadline.min(Instant::now() + Duration::from_millis(400));
            while let Some(frame) = self.receive(until)? {
                self.answer_arp(&frame)?;
                if let Some(answer) = tcp_answer(&frame, via, port) {
                    return Ok(answer);
                }
            }
        }
        Ok(Answer::Silence)
    }

    /// Answers for the neighbour's own address, so that the guest can reply.
    fn answer_arp(&mut self, frame: &[u8]) -> Result<()> {
        let asks_for_us = frame.len() >= 42
            && frame[12..14] == [0x08, 0x06]
            && frame[20..22] == [0, 1]
            && frame[38..42] == IP.octets();
        if !asks_for_us {
            return Ok(());
        }
        let mut asker = [0; 6];
        asker.copy_from_slice(&frame[22..28]);
        let asker_ip = Ipv4Addr::new(frame[28], frame[29], frame[30], frame[31]);
        let reply = arp(ArpOperation::REPLY, asker, asker_ip)?;
        self.send(&ethernet(asker, EtherType::ARP, &reply))
    }

    fn send(&mut self, frame: &[u8]) -> Result<()> {
        let length = u32::try_from(frame.len())?.to_be_bytes();
        self.stream
            .write_all(&[&length, frame].concat())
            .context("QEMU took no frame")
    }

    /// The next frame, or none by `until`.
    fn receive(&mut self, until: Instant) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some((length, rest)) = self.pending.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if rest.len() >= length {
                    let frame = rest[..length].to_vec();
                    self.pending.drain(..4 + length);
                    return Ok(Some(frame));
                }
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("QEMU closed the frame socket"),
                Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("the frame socket"),
            }
        }
    }
}

fn arp(operation: ArpOperation, target_mac: [u8; 6], target: Ipv4Addr) -> Result<Vec<u8>> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        operation,
        &MAC,
        &IP.octets(),
        &target_mac,
        &target.octets(),
    )?;
    Ok(packet.to_bytes().to_vec())
}

fn ethernet(to: [u8; 6], kind: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &MAC, &kind.0.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn arp_answer(frame: &[u8], ip: Ipv4Addr) -> Option<[u8; 6]> {
    let is_answer = frame.len() >= 42
        && frame[12..14] == [0x08, 0x06]
        && frame[20..22] == [0, 2]
        && frame[28..32] == ip.octets();
    is_answer.then(|| frame[22..28].try_into().ok())?
}

fn tcp_answer(frame: &[u8], from: [u8; 6], port: u16) -> Option<Answer> {
    // Only what the guest's own card sent: the hub carries others' frames, too.
    if frame.get(6..12)? != from {
        return None;
    }
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(ip)) = packet.net else {
        return None;
    };
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
        return None;
    };
    if ip.header().destination_addr() != IP
        || tcp.destination_port() != SOURCE_PORT
        || tcp.source_port() != port
    {
        return None;
    }
    if tcp.rst() {
        Some(Answer::Refused)
    } else if tcp.syn() && tcp.ack() {
        Some(Answer::Accepted)
    } else {
        None
    }
}
