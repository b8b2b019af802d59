//! Which ports belong to the debugger of a process, found from its command line and environment.
//!
//! Debuggers speak to the editor over loopback. Those connections are this machine's matter even where
//! loopback means the pod's. They are found exactly, as each debugger is told its port; a port that a program
//! opens by itself in its code (`debugpy.listen()`) cannot be found here.

use core::str;

/// Most ports that one process has; further ones are left out.
pub const CAPACITY: usize = 8;

/// The ports of a process's debuggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    list: [u16; CAPACITY],
    count: usize,
}

impl Ports {
    /// No port.
    pub const NONE: Self = Self { list: [0; CAPACITY], count: 0 };

    /// The ports in the order in which they were found.
    pub fn as_slice(&self) -> &[u16] {
        self.list.get(..self.count).unwrap_or_default()
    }

    /// Whether `port` is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.as_slice().contains(&port)
    }

    /// 0 means that the debugger chooses, which nobody can know.
    fn add(&mut self, port: Option<u16>) {
        let Some(port) = port.filter(|port| *port != 0 && !self.contains(*port)) else { return };
        if let Some(place) = self.list.get_mut(self.count) {
            *place = port;
            self.count += 1;
        }
    }
}

/// What is known of a process when it starts.
struct Process<'p, 'a> {
    /// File name of `argv[0]`.
    name: &'a [u8],
    /// The arguments after `argv[0]`.
    args: &'p [&'a [u8]],
    variable: &'p dyn Fn(&str) -> Option<&'a [u8]>,
    argfile: &'p dyn Fn(&[u8]) -> Option<Vec<u8>>,
}

/// **The table**: one row per kind of debugger.
const DEBUGGERS: &[fn(&Process<'_, '_>, &mut Ports)] = &[python, node, java, ruby, php, gdbserver, delve];

/// The ports of the debuggers of a process with these arguments (`argv[0]` first). `variable` looks its
/// environment up; `argfile` reads a file of arguments (`java @path`).
pub fn ports<'a>(
    args: impl Iterator<Item = &'a [u8]>,
    variable: impl Fn(&str) -> Option<&'a [u8]>,
    argfile: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Ports {
    let args: Vec<&[u8]> = args.collect();
    let Some((program, rest)) = args.split_first() else { return Ports::NONE };
    let process = Process { name: file_name(program), args: rest, variable: &variable, argfile: &argfile };
    let mut found = Ports::NONE;
    for debugger in DEBUGGERS {
        debugger(&process, &mut found);
    }
    found
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn number(text: &[u8]) -> Option<u16> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// The port of `port`, `host:port`, `*:port`, `:port` or `[address]:port`.
fn port_of(address: &[u8]) -> Option<u16> {
    number(address.rsplit(|byte| *byte == b':').next()?)
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The values of the options `names`, as `--name value` or `--name=value`, before a `--`.
fn values<'a>(args: &'a [&'a [u8]], names: &'a [&str]) -> impl Iterator<Item = &'a [u8]> {
    let own = args.split(|arg| *arg == b"--").next().unwrap_or_default();
    own.iter().enumerate().filter_map(move |(index, arg)| {
        names.iter().find_map(|name| match arg.strip_prefix(name.as_bytes())? {
            [] => own.get(index + 1).copied(),
            [b'=', value @ ..] => Some(value),
            _ => None,
        })
    })
}

/// What a Python interpreter runs, with the arguments behind it.
enum PythonRuns<'a> {
    Module(&'a [u8], &'a [&'a [u8]]),
    Code(&'a [u8]),
    File(&'a [u8], &'a [&'a [u8]]),
}

fn python_runs<'a>(args: &'a [&'a [u8]]) -> Option<PythonRuns<'a>> {
    let mut rest = args;
    while let [arg, after @ ..] = rest {
        rest = after;
        match *arg {
            [b'-', b'X' | b'W'] | b"--check-hash-based-pycs" => rest = after.get(1..)?,
            [b'-', b'X' | b'W', ..] | [b'-', b'-', ..] => {}
            [b'-', flags @ .., b'm'] if flags.is_ascii() => {
                return after.split_first().map(|(module, after)| PythonRuns::Module(module, after));
            }
            [b'-', flags @ .., b'c'] if flags.is_ascii() => return after.first().map(|code| PythonRuns::Code(code)),
            [b'-', _, ..] => {}
            file => return Some(PythonRuns::File(file, after)),
        }
    }
    None
}

/// debugpy (VS Code) and pydevd (PyCharm, and inside debugpy).
fn python(process: &Process<'_, '_>, found: &mut Ports) {
    if !process.name.starts_with(b"python") && !process.name.starts_with(b"pypy") {
        return;
    }
    let (what, args) = match python_runs(process.args) {
        Some(PythonRuns::Module(module, args)) => (module, args),
        Some(PythonRuns::File(file, args)) => (python_file(file), args),
        Some(PythonRuns::Code(code)) => return pydevd_code(code, found),
        None => return,
    };
    match what {
        b"debugpy" => debugpy(args, found),
        b"debugpy.launcher" => found.add(args.first().and_then(|port| port_of(port))),
        b"debugpy.adapter" => {
            values(args, &["--port", "--for-server"]).for_each(|value| found.add(port_of(value)));
        }
        b"pydevd" => {
            // What is behind `--file` is the program's own.
            let own = args.split(|arg| *arg == b"--file").next().unwrap_or_default();
            values(own, &["--port"]).for_each(|value| found.add(port_of(value)));
        }
        _ => {}
    }
}

/// The module that a path names, of those above; else the file's name.
fn python_file(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/__main__.py").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    match file_name(path) {
        b"launcher" if path.ends_with(b"debugpy/launcher") => b"debugpy.launcher",
        b"adapter" if path.ends_with(b"debugpy/adapter") => b"debugpy.adapter",
        b"pydevd.py" => b"pydevd",
        name => name,
    }
}

/// debugpy's own options, which end where the program begins.
fn debugpy(args: &[&[u8]], found: &mut Ports) {
    let mut rest = args;
    while let [option, after @ ..] = rest {
        let value = after.first().copied();
        rest = match *option {
            b"--listen" | b"--connect" => {
                found.add(value.and_then(port_of));
                after.get(1..).unwrap_or_default()
            }
            b"--wait-for-client" | b"--log-to-stderr" | b"--disable-sys-remote-exec" => after,
            // `-m`, `-c` and a file's name begin the program; `--pid` has nothing behind it.
            [b'-', b'-', _, ..] => after.get(1..).unwrap_or_default(),
            _ => return,
        };
    }
}

/// What pydevd puts in front of the code of `python -c`: `pydevd.settrace(host='127.0.0.1', port=41245, …`.
fn pydevd_code(code: &[u8], found: &mut Ports) {
    let Some(call) = after(code, b"pydevd.settrace(") else { return };
    let Some(value) = after(call.split(|byte| *byte == b')').next().unwrap_or_default(), b"port=") else { return };
    found.add(number(value.split(|byte| !byte.is_ascii_digit()).next().unwrap_or_default()));
}

fn after<'a>(text: &'a [u8], marker: &[u8]) -> Option<&'a [u8]> {
    let place = text.windows(marker.len()).position(|window| window == marker)?;
    text.get(place + marker.len()..)
}

/// Options of `node` that take the next argument.
const NODE_PAIRS: [&[u8]; 12] = [
    b"-r",
    b"--require",
    b"--import",
    b"--loader",
    b"--experimental-loader",
    b"-C",
    b"--conditions",
    b"--env-file",
    b"--title",
    b"--openssl-config",
    b"--icu-data-dir",
    b"--max-http-header-size",
];

/// Node's inspector. VS Code's own Node debugger uses Unix sockets and needs nothing.
fn node(process: &Process<'_, '_>, found: &mut Ports) {
    const DEFAULT: u16 = 9229;
    if !process.name.starts_with(b"node") {
        return;
    }
    let from_variable: Vec<_> = words((process.variable)("NODE_OPTIONS").unwrap_or_default()).collect();
    let (mut on, mut chosen) = (false, None);
    for list in [&from_variable, process.args] {
        let mut rest = list;
        while let [word @ [b'-', _, ..], after @ ..] = rest {
            rest = after;
            if *word == b"--" {
                break;
            }
            let mut parts = word.splitn(2, |byte| *byte == b'=');
            let option = parts.next().unwrap_or_default();
            let mut value = parts.next();
            match option {
                b"--inspect" | b"--inspect-brk" | b"--inspect-wait" => on = true,
                b"--inspect-port" | b"--debug-port" if value.is_none() => {
                    value = after.first().copied();
                    rest = after.get(1..).unwrap_or_default();
                }
                b"--inspect-port" | b"--debug-port" => {}
                option => {
                    if value.is_none() && NODE_PAIRS.contains(&option) {
                        rest = after.get(1..).unwrap_or_default();
                    }
                    continue;
                }
            }
            // A host without a port leaves the port as it is.
            chosen = value.and_then(port_of).or(chosen);
        }
    }
    if on {
        found.add(chosen.or(Some(DEFAULT)));
    }
}

/// Options of `java` that take the next argument.
const JAVA_PAIRS: [&[u8]; 14] = [
    b"-cp",
    b"-classpath",
    b"--class-path",
    b"-p",
    b"--module-path",
    b"--upgrade-module-path",
    b"--add-modules",
    b"--limit-modules",
    b"--add-opens",
    b"--add-exports",
    b"--add-reads",
    b"--patch-module",
    b"--enable-native-access",
    b"--source",
];

/// Java's debug agent, which an IDE starts by argument, by file of arguments or by variable.
fn java(process: &Process<'_, '_>, found: &mut Ports) {
    // Every Java machine reads these two, also one inside a program of another name.
    for name in ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"] {
        words((process.variable)(name).unwrap_or_default()).for_each(|word| found.add(jdwp(word)));
    }
    if !process.name.starts_with(b"java") {
        return;
    }
    words((process.variable)("JDK_JAVA_OPTIONS").unwrap_or_default()).for_each(|word| found.add(jdwp(word)));
    let mut rest = process.args;
    while let [arg, after @ ..] = rest {
        rest = match *arg {
            [b'@', path @ ..] => {
                let text = (process.argfile)(path).unwrap_or_default();
                argfile_words(&text).iter().for_each(|word| found.add(jdwp(word)));
                after
            }
            arg if JAVA_PAIRS.contains(&arg) => after.get(1..).unwrap_or_default(),
            // The program and its own arguments.
            b"-jar" | b"-m" | b"--module" => return,
            [b'-', ..] => {
                found.add(jdwp(arg));
                after
            }
            _ => return,
        };
    }
}

fn jdwp(word: &[u8]) -> Option<u16> {
    let options = match word.strip_prefix(b"-agentlib:jdwp=").or_else(|| word.strip_prefix(b"-Xrunjdwp:")) {
        Some(options) => options,
        None => after(word.strip_prefix(b"-agentpath:")?, b"libjdwp.so=")?,
    };
    port_of(options.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"address="))?)
}

/// The arguments in a file for `java @file`: in quotes a backslash escapes, `#` begins a comment.
fn argfile_words(text: &[u8]) -> Vec<Vec<u8>> {
    let (mut done, mut word) = (Vec::new(), None::<Vec<u8>>);
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', Some(_)) => word.get_or_insert_default().extend(bytes.next()),
            (byte, Some(open)) if byte == open => quote = None,
            (byte, Some(_)) => word.get_or_insert_default().push(byte),
            (b'"' | b'\'', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (b'#', None) if word.is_none() => {
                bytes.by_ref().find(|byte| *byte == b'\n');
            }
            (byte, None) if byte.is_ascii_whitespace() => done.extend(word.take()),
            (byte, None) => word.get_or_insert_default().push(byte),
        }
    }
    done.extend(word);
    done
}

/// `rdebug-ide` (RubyMine), `rdbg` of the gem `debug`.
fn ruby(process: &Process<'_, '_>, found: &mut Ports) {
    if !process.name.starts_with(b"ruby") {
        return;
    }
    for name in ["RUBY_DEBUG_PORT", "IDE_PROCESS_DISPATCHER"] {
        found.add((process.variable)(name).and_then(port_of));
    }
    let script = process.args.iter().position(|arg| matches!(file_name(arg), b"rdebug-ide" | b"rdbg"));
    let Some(options) = script.and_then(|script| process.args.get(script + 1..)) else { return };
    values(options, &["--port", "-p", "--dispatcher-port"]).for_each(|value| found.add(port_of(value)));
}

/// PHP's Xdebug, which connects to the editor.
fn php(process: &Process<'_, '_>, found: &mut Ports) {
    const DEFAULT: u16 = 9003;
    if !process.name.starts_with(b"php") {
        return;
    }
    let split = process.args.windows(2).filter(|pair| pair[0] == b"-d").map(|pair| pair[1]);
    let joined = process.args.iter().filter_map(|arg| arg.strip_prefix(b"-d"));
    let settings = split.chain(joined).filter_map(|setting| setting.strip_prefix(b"xdebug."));
    let from_variable = words((process.variable)("XDEBUG_CONFIG").unwrap_or_default());
    let (mut on, mut chosen) = (false, None);
    for setting in settings.chain(from_variable) {
        on = true;
        let port = setting.strip_prefix(b"client_port=").or_else(|| setting.strip_prefix(b"remote_port="));
        chosen = port.and_then(number).or(chosen);
    }
    let debugs = |mode: &[u8]| mode.split(|byte| *byte == b',').any(|word| word == b"debug");
    if on || (process.variable)("XDEBUG_MODE").is_some_and(debugs) {
        found.add(chosen.or(Some(DEFAULT)));
    }
}

/// `gdbserver [options] host:port …`.
fn gdbserver(process: &Process<'_, '_>, found: &mut Ports) {
    if process.name == b"gdbserver" {
        let place = process.args.iter().find(|arg| !arg.starts_with(b"-"));
        found.add(place.filter(|place| place.contains(&b':')).and_then(|place| port_of(place)));
    }
}

/// Go's `dlv`.
fn delve(process: &Process<'_, '_>, found: &mut Ports) {
    if process.name == b"dlv" {
        values(process.args, &["--listen", "-l", "--client-addr"]).for_each(|value| found.add(port_of(value)));
    }
}

#[cfg(test)]
mod tests;
