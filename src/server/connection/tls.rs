//! A TCP stream with TLS on it, as a non-blocking socket behaves.

use mio::net::TcpStream;
use rustls::Connection as Session;
use rustls::pki_types::CertificateDer;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

/// One end of an encrypted connection.
///
/// What was written may wait here, encrypted, until the socket takes it: [`TlsStream::flush`] is to be called when it
/// does.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: Session,
    /// Another process has it now.
    is_abandoned: bool,
    /// The peer has said that it sends no more.
    has_ended: bool,
}

impl TlsStream {
    pub fn new(socket: TcpStream, session: impl Into<Session>) -> TlsStream {
        TlsStream { socket, session: session.into(), is_abandoned: false, has_ended: false }
    }

    /// Another process goes on with it: nothing more is said here.
    pub fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether the two have not agreed on keys yet.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// The certificate that the peer has shown, if it has.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.session.peer_certificates()?.first()
    }

    /// Whether the peer has said farewell, perhaps together with its last bytes: nothing that arrives will tell so.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Reads until `buf` is full or the socket empty: as of a socket, less than was asked for is all that there is.
    ///
    /// # Errors
    /// Those of the socket; [`ErrorKind::InvalidData`] if the peer does not keep to the protocol or is not trusted.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            match self.session.reader().read(&mut buf[filled..]) {
                Ok(0) => {
                    self.has_ended = true;
                    return Ok(filled);
                }
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => match self.receive() {
                    Ok(0) => return Ok(filled),
                    Ok(_) => {}
                    Err(_) if filled > 0 => return Ok(filled),
                    Err(error) => return Err(error),
                },
                // The peer has closed without a word of farewell, as many do.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(filled),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what the socket has, once: answers how many bytes, none if it has been closed.
    fn receive(&mut self) -> io::Result<usize> {
        let n = self.session.read_tls(&mut self.socket)?;
        let understood = self.session.process_new_packets();
        // The handshake is answered, or the peer told what is wrong. The socket may be full: the rest goes later.
        let sent = self.flush();
        understood.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        match sent {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(n),
        }
    }

    /// Encrypts bytes as long as the socket takes them; answers how many.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// The same for several pieces.
    ///
    /// # Errors
    /// As for [`TlsStream::write`].
    pub fn write_vectored(&mut self, mut slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        let (mut written, mut skip) = (0, 0);
        while let Some((slice, further)) = slices.split_first() {
            if skip == slice.len() {
                (slices, skip) = (further, 0);
                continue;
            }
            let n = self.session.writer().write(&slice[skip..])?;
            (written, skip) = (written + n, skip + n);
            match self.flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                outcome => outcome?,
            }
            if n == 0 {
                // So much may wait for the end of the handshake, and no more.
                break;
            }
        }
        if written == 0 && !slices.is_empty() {
            Err(ErrorKind::WouldBlock.into())
        } else {
            Ok(written)
        }
    }

    /// Hands what is encrypted already to the socket.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl TlsStream {
    /// Says that nothing more will be written.
    pub fn close_notify(&mut self) {
        if self.is_abandoned {
            return;
        }
        self.session.send_close_notify();
        // The peer may be gone, or not take it now: it will see the end in any case.
        let _ = self.flush();
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.close_notify();
    }
}
