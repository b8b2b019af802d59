//! An editor as far as `mirror serve` knows one: a process that speaks JSON-RPC with it over its input and output.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running `mirror serve`. Ended when dropped.
pub struct Editor {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    /// Notifications that nobody has asked for yet.
    notifications: VecDeque<Value>,
    /// Answers that nobody has asked for yet.
    answers: VecDeque<Value>,
    next: u64,
}

impl Editor {
    /// Starts the command, which is a `mirror serve`, without a word.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = child.stdout.take().expect("piped");
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(message) = read(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, messages, notifications: VecDeque::new(), answers: VecDeque::new(), next: 1 }
    }

    /// Starts it and says hello.
    pub fn initialized(command: Command) -> Self {
        let mut editor = Self::start(command);
        editor.call("initialize", json!({ "processId": std::process::id(), "capabilities": {} }));
        editor.notify("initialized", json!({}));
        editor
    }

    /// The helper's pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("still open");
        input.write_all(bytes).and_then(|()| input.flush()).expect("written");
    }

    /// Sends a message.
    pub fn send(&mut self, message: &Value) {
        let body = message.to_string();
        self.send_bytes(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    /// Sends a notification.
    pub fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Sends a request and returns its id.
    pub fn ask(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The whole answer to a request.
    #[track_caller]
    pub fn answer(&mut self, id: &Value) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.answers.iter().position(|answer| answer["id"] == *id) {
                return self.answers.remove(at).expect("is there");
            }
            self.receive(deadline, &format!("the answer to {id}"));
        }
    }

    /// The result of a request.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        let answer = self.answer(&json!(id));
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The error of a request.
    #[track_caller]
    pub fn fails(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        let answer = self.answer(&json!(id));
        assert!(answer.get("error").is_some(), "{method}: {answer}");
        answer["error"].clone()
    }

    /// The next notification of a method of which `is_it` holds; others of it before are dropped.
    #[track_caller]
    pub fn wait_for(&mut self, method: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(at) = self.notifications.iter().position(|message| message["method"] == method) {
                let message = self.notifications.remove(at).expect("is there");
                if is_it(&message["params"]) {
                    return message["params"].clone();
                }
            }
            self.receive(deadline, method);
        }
    }

    /// Everything of a method that has come so far.
    pub fn seen(&mut self, method: &str) -> Vec<Value> {
        while let Ok(message) = self.messages.try_recv() {
            self.keep(message);
        }
        let of_method = self.notifications.iter().filter(|message| message["method"] == method);
        of_method.map(|message| message["params"].clone()).collect()
    }

    #[track_caller]
    fn receive(&mut self, deadline: Instant, what: &str) {
        match self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => self.keep(message),
            Err(RecvTimeoutError::Timeout) => panic!("no {what}; left: {:#?}", self.notifications),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the helper has ended before {what}; {:#?}", self.notifications)
            }
        }
    }

    fn keep(&mut self, message: Value) {
        match message.get("method") {
            Some(_) => self.notifications.push_back(message),
            None => self.answers.push_back(message),
        }
    }

    /// Closes the helper's input.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// Waits for its end, at most so long.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            match self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(message) => self.keep(message),
                Err(RecvTimeoutError::Timeout) => panic!("the helper has not ended within {within:?}"),
                // Its output has ended.
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("its end"),
            }
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("its end");
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// One message; none at the end.
fn read(output: &mut impl BufRead) -> Option<Value> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => {
                if let Some(value) = line.strip_prefix("Content-Length:") {
                    length = value.trim().parse::<usize>().ok();
                }
            }
        }
    }
    let mut body = vec![0; length?];
    output.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
