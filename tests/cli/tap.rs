//! Somebody on the way who keeps whatever passes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Carries connections on to an address, until the test is over.
pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// What passed one way of one connection.
type Heard = Arc<Mutex<Vec<u8>>>;

impl Tap {
    pub(crate) fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Heard>>>::default());
        let all = heard.clone();
        thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect(to) else { continue };
                let ends = [&here, &there].map(|end| end.try_clone().unwrap());
                for (mut from, mut to) in
                    [(here, ends[1].try_clone().unwrap()), (there, ends[0].try_clone().unwrap())]
                {
                    let heard = Heard::default();
                    all.lock().unwrap().push(heard.clone());
                    thread::spawn(move || {
                        // Whoever hangs up hangs up on both.
                        let _ = carry(&mut from, &mut to, &heard);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { address, heard }
    }

    /// All that passed, one way after the other.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().iter().map(|heard| heard.lock().unwrap().clone()).collect()
    }
}

fn carry(from: &mut TcpStream, to: &mut TcpStream, heard: &Heard) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            bytes => {
                heard.lock().unwrap().extend(&piece[..bytes]);
                to.write_all(&piece[..bytes])?;
            }
        }
    }
}
