//! zfec, the Python package: `zfec_driver.py` beside this crate does the work, told line by line what to do.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::contestant::{Contestant, Layout, WHOLE};

struct Zfec {
    layout: Layout,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    sent: bool,
    lost: usize,
}

/// The version of the Python package, or why it cannot be used.
pub fn version() -> Result<String, String> {
    let output = python().arg("version").output().map_err(|error| format!("python3: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err("the Python package zfec is not installed".to_owned())
    }
}

pub fn enter(layout: Layout, _threads: usize) -> Result<Box<dyn Contestant>, String> {
    version()?;
    if layout.shape.blocks() > 256 {
        return Err("256 blocks are the most".to_owned());
    }
    let shape =
        [layout.shape.data, layout.shape.blocks(), layout.block_bytes].map(|number| number.to_string());
    let mut child = python()
        .args(shape)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("python3: {error}"))?;
    let input = child.stdin.take().expect("piped");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    Ok(Box::new(Zfec { layout, child, input, output, sent: false, lost: 0 }))
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg("-c").arg(include_str!("../../zfec_driver.py"));
    command
}

impl Zfec {
    /// Tells it what to do and waits until it is done.
    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").and_then(|()| self.input.flush()).expect("the driver reads");
        self.wait();
    }

    fn wait(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the driver answers");
        assert_eq!(line, "done\n", "the driver failed");
    }
}

impl Contestant for Zfec {
    fn threshold(&self) -> usize {
        self.layout.shape.data
    }

    fn pieces(&self) -> &'static [usize] {
        &[16 << 10, 64 << 10, WHOLE]
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    /// Its process has a source of its own, sent once.
    fn load(&mut self, data: &[u8]) {
        if !self.sent {
            self.input.write_all(data).and_then(|()| self.input.flush()).expect("the driver reads");
            self.wait();
            self.sent = true;
        }
    }

    fn encode(&mut self, _data: &[u8], piece: usize) {
        self.tell(&format!("encode {}", piece.min(self.layout.block_bytes)));
    }

    fn plan(&mut self, lost: usize, _piece: usize) {
        self.lost = lost;
    }

    fn decode(&mut self, _data: &mut [u8], piece: usize) {
        self.tell(&format!("decode {} {}", piece.min(self.layout.block_bytes), self.lost));
    }

    fn unload(&mut self, data: &mut [u8]) {
        if self.lost > 0 {
            self.tell("fetch");
            let restored = &mut data[..self.lost * self.layout.block_bytes];
            self.output.read_exact(restored).expect("the driver sends what it restored");
        }
    }
}

impl Drop for Zfec {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after this.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
