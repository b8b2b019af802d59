//! Real command lines of editors and debuggers.

use super::*;

const NO_FILE: Option<&str> = None;

/// The ports of a command line in words, where `'…'` is one word, with its variables and its argfile.
fn found(line: &str, variables: &[(&str, &str)], file: Option<&str>) -> Vec<u16> {
    let mut args: Vec<&[u8]> = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 { args.push(part.as_bytes()) } else { args.extend(words(part.as_bytes())) }
    }
    let variable = |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_bytes());
    ports(args.into_iter(), variable, |_| file.map(|text| text.as_bytes().to_vec())).as_slice().to_vec()
}

fn check(cases: &[(&str, &[u16])]) {
    for (line, expected) in cases {
        assert_eq!(found(line, &[], NO_FILE), *expected, "{line}");
    }
}

#[test]
fn debugpy_is_found() {
    check(&[
        ("python -m debugpy --listen 5678 --wait-for-client app.py", &[5678]),
        ("python3.11 -Xfrozen_modules=off -m debugpy --listen 0.0.0.0:5678 -m uvicorn app:app --port 80", &[5678]),
        ("/usr/bin/python3 -X frozen_modules=off -m debugpy --connect localhost:5679 app.py", &[5679]),
        ("python -Im debugpy --listen 5678 app.py", &[5678]),
        (
            "/home/u/.venv/bin/python /home/u/.vscode/extensions/ms-python.debugpy-2024.14.0-linux-x64/bundled/libs/debugpy \
             --connect 127.0.0.1:45671 --configure-qt none --adapter-access-token 5f1a app.py --listen 99",
            &[45671],
        ),
        (
            "/usr/bin/python3 /home/u/.vscode/extensions/ms-python.debugpy-2024.14.0-linux-x64/bundled/libs/debugpy/adapter/\
             ../../debugpy/launcher 38045 -- /home/u/app.py --connect 127.0.0.1:1",
            &[38045],
        ),
        (
            "/usr/bin/python3 /x/debugpy/adapter --for-server 41001 --host 127.0.0.1 --port 5678 --server-access-token t",
            &[41001, 5678],
        ),
        ("python -m debugpy.adapter --host 127.0.0.1 --port 5678", &[5678]),
        ("python /home/u/.local/bin/debugpy --listen 5678 --log-to /tmp/x --pid 77", &[5678]),
        ("python -m debugpy --listen 0 app.py", &[]),
        ("python app.py --listen 5678 --connect db:5432", &[]),
        ("python -m flask --listen 5678", &[]),
        ("python launcher 38045", &[]),
        ("node -m debugpy --listen 5678", &[]),
        ("python -c 'print(1)' --listen 5", &[]),
        ("python", &[]),
        ("", &[]),
    ]);
}

#[test]
fn pydevd_is_found() {
    check(&[
        (
            "/usr/bin/python3.11 /opt/pycharm/plugins/python-ce/helpers/pydev/pydevd.py --multiprocess --qt-support=auto \
             --client 127.0.0.1 --port 41245 --file /home/u/app.py --port 80",
            &[41245],
        ),
        (
            "python -X frozen_modules=off /x/_vendored/pydevd/pydevd.py --port 45071 --client 127.0.0.1 --file app.py",
            &[45071],
        ),
        (
            "/usr/bin/python3 -c 'import sys; sys.path.insert(0, r\"/x/pydevd\"); import pydevd; \
             pydevd.settrace(host=\"127.0.0.1\", port=45071, suspend=False); connect(port=5432)'",
            &[45071],
        ),
        ("python -c 'connect(port=5432)'", &[]),
    ]);
}

#[test]
fn nodes_inspector_is_found() {
    check(&[
        ("node --inspect app.js", &[9229]),
        ("node --inspect-brk=9230 app.js --inspect=1", &[9230]),
        ("/usr/bin/node --inspect=0.0.0.0:9231 app.js", &[9231]),
        ("node --inspect=[::1]:9231 app.js", &[9231]),
        ("node --inspect=0.0.0.0 app.js", &[9229]),
        ("node --inspect-port=9240 --inspect-wait app.js", &[9240]),
        ("node --debug-port 9241 --inspect app.js", &[9241]),
        ("node -r ts-node/register --inspect=9242 app.ts", &[9242]),
        ("node --inspect=0 app.js", &[]),
        ("node --inspect-port=9240 app.js", &[]),
        ("node app.js --inspect", &[]),
        ("python app.py --inspect", &[]),
    ]);
    for (line, options, expected) in [
        ("node app.js", "--max-old-space-size=100 --inspect=127.0.0.1:9250", &[9250][..]),
        ("node --inspect-port=9251 app.js", "--inspect", &[9251]),
        ("node app.js", "--require /home/u/.vscode/bootloader.js --inspect-publish-uid=http", &[]),
        ("psql", "--inspect", &[]),
    ] {
        assert_eq!(found(line, &[("NODE_OPTIONS", options)], NO_FILE), expected, "{line} {options}");
    }
}

#[test]
fn javas_agent_is_found() {
    check(&[
        (
            "/usr/lib/jvm/java-21/bin/java -agentlib:jdwp=transport=dt_socket,address=127.0.0.1:39281,suspend=y,server=n \
             -javaagent:/x/debugger-agent.jar -Dfile.encoding=UTF-8 -classpath /x/a.jar Main",
            &[39281],
        ),
        ("java -cp /x -agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=*:5005 Main", &[5005]),
        ("java -agentlib:jdwp=transport=dt_socket,address=5005,server=y Main", &[5005]),
        ("java -Xdebug -Xrunjdwp:transport=dt_socket,server=y,address=[::1]:8000 -jar a.jar", &[8000]),
        ("java -agentpath:/opt/jdk/lib/libjdwp.so=transport=dt_socket,address=localhost:8001 Main", &[8001]),
        ("java -jar a.jar -agentlib:jdwp=address=1", &[]),
        ("java Main -agentlib:jdwp=address=1", &[]),
        ("java -agentlib:jdwp=transport=dt_socket,server=y Main", &[]),
        ("bash -agentlib:jdwp=address=5005", &[]),
    ]);
    for (line, name, expected) in [
        ("java Main", "JAVA_TOOL_OPTIONS", &[5005][..]),
        ("java Main", "JDK_JAVA_OPTIONS", &[5005]),
        ("java Main", "_JAVA_OPTIONS", &[5005]),
        ("/opt/app/bin/app", "JAVA_TOOL_OPTIONS", &[5005]),
        ("/opt/app/bin/app", "JDK_JAVA_OPTIONS", &[]),
    ] {
        let options = "-Xmx1g -agentlib:jdwp=transport=dt_socket,server=y,address=localhost:5005";
        assert_eq!(found(line, &[(name, options)], NO_FILE), expected, "{line} {name}");
    }
    for (text, expected) in [
        ("-classpath \"/x/a b.jar\"\n-agentlib:jdwp=transport=dt_socket,address=localhost:36517\n", &[36517][..]),
        ("# -agentlib:jdwp=address=1\n'-agentlib:jdwp=address=2'", &[2]),
        ("\"-agentlib:jdwp=address=\\3\"", &[3]),
        ("-Dx=#no -agentlib:jdwp=address=4", &[4]),
        ("", &[]),
    ] {
        assert_eq!(found("java @/tmp/cp_1.argfile Main", &[], Some(text)), expected, "{text}");
    }
}

#[test]
fn rubys_debuggers_are_found() {
    check(&[
        (
            "/usr/bin/ruby /x/bin/rdebug-ide --disable-int-handler --evaluation-timeout 10 --rubymine-protocol-extensions \
             --port 41000 --host 0.0.0.0 --dispatcher-port 41001 -- /home/u/app.rb --port 80",
            &[41000, 41001],
        ),
        ("ruby /usr/local/bin/rdbg --open --port=12345 --host 127.0.0.1 -c -- rails s -p 3000", &[12345]),
        ("ruby app.rb --port 80", &[]),
    ]);
    assert_eq!(found("ruby app.rb", &[("RUBY_DEBUG_PORT", "12345")], NO_FILE), [12345]);
    assert_eq!(found("ruby app.rb", &[("IDE_PROCESS_DISPATCHER", "127.0.0.1:41001")], NO_FILE), [41001]);
    assert_eq!(found("psql", &[("RUBY_DEBUG_PORT", "12345")], NO_FILE), []);
}

#[test]
fn xdebug_is_found() {
    check(&[
        ("php -dxdebug.mode=debug -dxdebug.client_port=9010 -dxdebug.client_host=127.0.0.1 a.php", &[9010]),
        ("php8.2 -d xdebug.client_port=9011 a.php", &[9011]),
        ("php -dxdebug.mode=debug a.php", &[9003]),
        ("php -dmemory_limit=1G a.php", &[]),
    ]);
    assert_eq!(found("php a.php", &[("XDEBUG_CONFIG", "idekey=X client_port=9012")], NO_FILE), [9012]);
    assert_eq!(found("php a.php", &[("XDEBUG_MODE", "develop,debug")], NO_FILE), [9003]);
    assert_eq!(found("php a.php", &[("XDEBUG_MODE", "coverage")], NO_FILE), []);
}

#[test]
fn native_debuggers_are_found() {
    check(&[
        ("gdbserver localhost:2345 ./a.out x:1", &[2345]),
        ("/usr/bin/gdbserver --once :2346 ./a.out", &[2346]),
        ("gdbserver --attach :2347 4711", &[2347]),
        ("gdbserver --multi - ", &[]),
        ("dlv debug --headless --listen=:2345 --api-version=2 -- --listen=:80", &[2345]),
        ("dlv dap --listen=127.0.0.1:38697 --log-dest=3", &[38697]),
        ("/go/bin/dlv dap --client-addr=:45000", &[45000]),
        ("dlv exec -l [::1]:4000 ./a", &[4000]),
    ]);
}

#[test]
fn more_ports_than_fit_are_left_out_and_none_counts_twice() {
    let mut ports = Ports::NONE;
    for port in [1, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9] {
        ports.add(Some(port));
    }
    assert_eq!(ports.as_slice(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(ports.contains(8) && !ports.contains(9) && !ports.contains(0));
}
