// SPDX-License-Identifier: GPL-2.0-only
//! Addresses of the loopback device: each portal has one of its own, so that a case can take one away.
//!
//! By the ioctls of netdevice(7): an address is an alias of `lo` with a label, and goes when the alias goes down. The
//! network 127.0.0.0/8 would not do: all of it is local, whatever addresses are set.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::libc::{self, ifreq};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

nix::ioctl_write_ptr_bad!(
    /// Sets the flags of a device; of an alias, takes it away if `IFF_UP` is not among them (`devinet_ioctl`).
    set_flags, libc::SIOCSIFFLAGS, ifreq);
nix::ioctl_write_ptr_bad!(
    /// Sets the address of a device or alias.
    set_address, libc::SIOCSIFADDR, ifreq);
nix::ioctl_write_ptr_bad!(
    /// Sets its netmask.
    set_netmask, libc::SIOCSIFNETMASK, ifreq);

nix::ioctl_read_bad!(
    /// Reads the address of a device or alias; fails with EADDRNOTAVAIL if it has none.
    get_address, libc::SIOCGIFADDR, ifreq);

/// A socket to talk to the kernel about devices.
struct Control(OwnedFd);

impl Control {
    fn open() -> io::Result<Self> {
        Ok(Self(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?))
    }

    fn flags(&self, name: &str, flags: i32) -> io::Result<()> {
        let mut request = request(name)?;
        request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
        // SAFETY: the kernel reads the request during the call.
        unsafe { set_flags(self.0.as_raw_fd(), &raw const request) }?;
        Ok(())
    }
}

/// Brings the loopback device up.
pub fn bring_up_loopback() -> io::Result<()> {
    Control::open()?.flags("lo", libc::IFF_UP | libc::IFF_RUNNING)
}

/// Gives the loopback device an address, and only that one: its netmask is /32.
pub fn add(alias: &str, address: Ipv4Addr) -> io::Result<()> {
    let control = Control::open()?;
    let with = |address: Ipv4Addr| -> io::Result<ifreq> {
        let mut request = request(alias)?;
        request.ifr_ifru.ifru_addr = socket_address(address);
        Ok(request)
    };
    let (address, netmask) = (with(address)?, with(Ipv4Addr::BROADCAST)?);
    // SAFETY: the kernel reads the requests during the calls; the address in each is a `sockaddr_in`.
    unsafe {
        set_address(control.0.as_raw_fd(), &raw const address)?;
        set_netmask(control.0.as_raw_fd(), &raw const netmask)?;
    }
    Ok(())
}

/// Whether the alias has an address.
pub fn exists(alias: &str) -> bool {
    let ask = || -> io::Result<()> {
        let (control, mut request) = (Control::open()?, request(alias)?);
        // SAFETY: the kernel fills the request during the call.
        unsafe { get_address(control.0.as_raw_fd(), &raw mut request) }?;
        Ok(())
    };
    ask().is_ok()
}

/// Takes an address away. Packets to it are not delivered from now on; nobody is told.
pub fn remove(alias: &str) -> io::Result<()> {
    Control::open()?.flags(alias, 0)
}

fn request(name: &str) -> io::Result<ifreq> {
    // SAFETY: all zero is a valid value of this structure of plain data.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    // One byte less than there is room: the name ends with NUL.
    if name.len() >= request.ifr_name.len() || !name.is_ascii() {
        return Err(io::Error::other(format!("{name} is no name of a network device")));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    Ok(request)
}

/// A `sockaddr` that is a `sockaddr_in`: after the family two bytes of port, then the address in network order.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (place, byte) in data[2..].iter_mut().zip(address.octets()) {
        *place = byte.cast_signed();
    }
    #[expect(clippy::cast_possible_truncation, reason = "AF_INET is 2")]
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_network_order_behind_the_port() {
        let address = socket_address(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(address.sa_family, 2);
        assert_eq!(address.sa_data[..6], [0, 0, 192_u8.cast_signed(), 0, 2, 1]);
    }

    #[test]
    fn a_name_must_fit() {
        assert!(request("lo:0").is_ok());
        assert!(request("a-name-of-16-byte").is_err());
    }
}
