// SPDX-License-Identifier: GPL-2.0-only
//! Frames on the agent's virtio-serial port. A frame is
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | magic `01 'P' 'B' 02` |
//! | 4 | length of the payload, little endian, at most [`MAX_PAYLOAD`] |
//! | 4 | CRC-32 (IEEE) of the payload, little endian |
//! | n | the payload: one JSON value |
//!
//! JSON escapes control characters, so the magic never occurs inside a payload: a frame that was cut short is found
//! as soon as the next one starts, without waiting for a clock.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Start of every frame.
const MAGIC: [u8; 4] = [0x01, b'P', b'B', 0x02];
const HEADER: usize = 12;

/// A frame travels in one `write(2)`: `port_fops_write` of virtio_console takes at most 32 KiB at once.
pub const MAX_FRAME: usize = 32 * 1024;
/// Longest payload.
pub const MAX_PAYLOAD: usize = MAX_FRAME - HEADER;

/// Why bytes are no frame, or can't become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes that do not start with the magic.
    #[error("{0} bytes before the start of a frame")]
    Garbage(usize),
    /// The next frame (or the end) came before this one was complete.
    #[error("frame cut short: {got} of {want} bytes")]
    Truncated {
        /// Bytes that came, header included.
        got: usize,
        /// Bytes that were announced; the header's size if even that was cut.
        want: usize,
    },
    /// The announced length is impossible.
    #[error("frame announces {0} bytes, at most {MAX_PAYLOAD} are possible")]
    TooLong(usize),
    /// The checksum is wrong.
    #[error("frame damaged: CRC-32 is {got:08x}, announced was {want:08x}")]
    Damaged {
        /// Of the payload as it came.
        got: u32,
        /// As the header says.
        want: u32,
    },
    /// The payload is not the message that was expected.
    #[error("frame holds no known message: {0}")]
    Unknown(String),
}

/// One message as a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let payload = serde_json::to_vec(message).map_err(|e| Error::Unknown(e.to_string()))?;
    if payload.len() > MAX_PAYLOAD {
        return Err(Error::TooLong(payload.len()));
    }
    let length = u32::try_from(payload.len()).map_err(|_| Error::TooLong(payload.len()))?;
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// Turns a stream of bytes, cut anywhere, into messages. After an error it goes on at the next magic.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message or error; `None` when more bytes are needed.
    pub fn message<T: DeserializeOwned>(&mut self) -> Option<Result<T, Error>> {
        let payload = match self.next_payload()? {
            Ok(payload) => payload,
            Err(error) => return Some(Err(error)),
        };
        Some(serde_json::from_slice(&payload).map_err(|e| Error::Unknown(e.to_string())))
    }

    /// At the end of the stream: an error if a frame is incomplete.
    pub fn finish(&mut self) -> Result<(), Error> {
        let got = std::mem::take(&mut self.buffer);
        if got.is_empty() { Ok(()) } else { Err(Error::Truncated { got: got.len(), want: announced(&got) }) }
    }

    fn next_payload(&mut self) -> Option<Result<Vec<u8>, Error>> {
        if self.buffer.is_empty() {
            return None;
        }
        if !starts_like_magic(&self.buffer) {
            let skip = find_magic(&self.buffer, 1).unwrap_or(self.buffer.len());
            self.buffer.drain(..skip);
            return Some(Err(Error::Garbage(skip)));
        }
        if let Some(next) = find_magic(&self.buffer, 1) {
            let want = announced(&self.buffer[..next]);
            if next < want {
                self.buffer.drain(..next);
                return Some(Err(Error::Truncated { got: next, want }));
            }
        }
        if self.buffer.len() < HEADER {
            return None;
        }
        let want = announced(&self.buffer);
        if want > MAX_FRAME {
            self.buffer.drain(..MAGIC.len());
            return Some(Err(Error::TooLong(want - HEADER)));
        }
        if self.buffer.len() < want {
            return None;
        }
        let sum = word(&self.buffer, 8);
        let payload = self.buffer[HEADER..want].to_vec();
        self.buffer.drain(..want);
        let got = crc32fast::hash(&payload);
        Some(if got == sum { Ok(payload) } else { Err(Error::Damaged { got, want: sum }) })
    }
}

/// Size of the whole frame as its header says; the header's size while that is incomplete.
fn announced(frame: &[u8]) -> usize {
    if frame.len() < HEADER { HEADER } else { HEADER.saturating_add(word(frame, 4) as usize) }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn starts_like_magic(bytes: &[u8]) -> bool {
    let n = bytes.len().min(MAGIC.len());
    bytes[..n] == MAGIC[..n]
}

/// Where a magic starts at or after `from`. Length and CRC are binary and could hold one by chance; that costs a
/// frame (an error on a healthy channel), with a chance of 2^-32 a byte.
fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(MAGIC.len() - 1)).find(|&at| bytes[at..at + MAGIC.len()] == MAGIC)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::ToGuest;

    fn all(decoder: &mut Decoder) -> Vec<Result<String, Error>> {
        std::iter::from_fn(|| decoder.message()).collect()
    }

    #[test]
    fn a_cut_frame_is_found_when_the_next_one_starts() {
        let first = encode(&"x".repeat(500)).unwrap();
        let mut decoder = Decoder::new();
        decoder.push(&first[..200]);
        decoder.push(&encode(&"next").unwrap());
        let want = first.len();
        assert_eq!(all(&mut decoder), [Err(Error::Truncated { got: 200, want }), Ok("next".to_owned())]);
    }

    #[test]
    fn a_frame_cut_inside_its_header_is_found() {
        let mut decoder = Decoder::new();
        decoder.push(&encode(&"x").unwrap()[..7]);
        decoder.push(&encode(&"next").unwrap());
        assert_eq!(all(&mut decoder), [Err(Error::Truncated { got: 7, want: 12 }), Ok("next".to_owned())]);
    }

    #[test]
    fn a_cut_frame_is_found_at_the_end() {
        let mut decoder = Decoder::new();
        decoder.push(&encode(&"x").unwrap()[..13]);
        assert!(decoder.message::<String>().is_none());
        assert_eq!(decoder.finish(), Err(Error::Truncated { got: 13, want: 15 }));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut frame = encode(&"hello").unwrap();
        *frame.last_mut().unwrap() ^= 1;
        let mut decoder = Decoder::new();
        decoder.push(&frame);
        assert!(matches!(decoder.message::<String>(), Some(Err(Error::Damaged { .. }))));
    }

    #[test]
    fn garbage_and_another_message_are_named() {
        let mut decoder = Decoder::new();
        decoder.push(b"login: ");
        decoder.push(&encode(&"no ToGuest").unwrap());
        assert_eq!(decoder.message::<ToGuest>(), Some(Err(Error::Garbage(7))));
        assert!(matches!(decoder.message::<ToGuest>(), Some(Err(Error::Unknown(_)))));
    }

    #[test]
    fn too_long_is_refused_on_both_sides() {
        assert!(matches!(encode(&"x".repeat(MAX_FRAME)), Err(Error::TooLong(_))));
        let mut decoder = Decoder::new();
        decoder.push(&MAGIC);
        decoder.push(&[0xff; 8]);
        assert!(matches!(decoder.message::<String>(), Some(Err(Error::TooLong(_)))));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            texts in prop::collection::vec(".{0,80}", 1..8),
            cuts in prop::collection::vec(1usize..50, 1..100),
        ) {
            let stream: Vec<u8> = texts.iter().flat_map(|t| encode(t).unwrap()).collect();
            let mut decoder = Decoder::new();
            let mut seen = vec![];
            let mut rest = &stream[..];
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                decoder.push(now);
                seen.extend(all(&mut decoder));
                rest = later;
            }
            prop_assert_eq!(seen, texts.into_iter().map(Ok).collect::<Vec<_>>());
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            while decoder.message::<String>().is_some() {}
            let _ = decoder.finish();
        }
    }
}
