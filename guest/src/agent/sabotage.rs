// SPDX-License-Identifier: GPL-2.0-only
//! Ways to break the agent's protocol on purpose. Only the cases that test the harness itself use them.

use std::sync::Mutex;

use super::now;
use super::port::Port;
use crate::failure::{GuestContext as _, Outcome};
use crate::message::{FromGuest, Verdict};
use crate::wire;

static PORT: Mutex<Option<(Port, u64)>> = Mutex::new(None);

/// Gives the case's process its port.
pub(super) fn set_port(port: Port, token: u64) {
    if let Ok(mut slot) = PORT.lock() {
        *slot = Some((port, token));
    }
}

fn with_pass(send: impl FnOnce(&Port, &FromGuest) -> std::io::Result<()>) -> Outcome {
    let slot = PORT.lock().guest("lock the port")?;
    let (port, token) = slot.as_ref().ok_or("no agent listens").guest("find the port")?;
    send(port, &FromGuest::Verdict { token: *token, t: now(), verdict: Verdict::Pass })
        .guest("write to the port")
}

/// Sends the first half of a frame that would say "pass".
pub fn half_a_frame() -> Outcome {
    with_pass(|port, pass| {
        let frame = wire::encode(pass).map_err(std::io::Error::other)?;
        port.send_raw(&frame[..frame.len() / 2])
    })
}

/// Sends the verdict "pass", beside the one that the agent sends when the case returns.
pub fn an_extra_verdict() -> Outcome {
    with_pass(Port::send)
}
