//! What is the pod's and what is this machine's when nobody says anything.

use tests::Laptop;

use super::{Pod, mirrored, printed};

/// A laptop without a configuration, or with a mode only.
fn with_mode(mode: Option<&str>) -> Laptop {
    let laptop = Laptop::new();
    if let Some(mode) = mode {
        laptop.write(".mirror.json", &format!(r#"{{"feature": {{"fs": "{mode}"}}}}"#));
    }
    laptop
}

#[test]
fn volumes_and_what_is_of_nobody_here_are_read_from_the_pod() {
    let (pod, laptop) = (Pod::shared(), with_mode(None));
    pod.run(&["sh", "-c", "mkdir -p /tmp/of-the-pod; echo pod > /tmp/of-the-pod/x"]);
    let settings = laptop.write("project/settings.json", "of this machine\n");
    let script = format!(
        "cat /data/tree/plain.txt /app/config/settings.yaml {} && \
         cat /var/run/secrets/kubernetes.io/serviceaccount/namespace && echo && ls -d /data /app/config && \
         (ls /tmp/of-the-pod; ls /none) 2>&1 | grep -c 'No such file'",
        settings.display()
    );
    let shown = printed(&laptop, &pod, &["sh", "-c", &script]);
    assert_eq!(shown, "hello\nlevel: debug\nof this machine\ndefault\n/app/config\n/data\n2\n");
    let outcome = laptop.run(mirrored(&laptop, &pod, &["cat", "/app/secret/password"])).exited(1);
    assert_eq!(outcome.stderr, "cat: /app/secret/password: Permission denied\n", "it is root's");
}

#[test]
fn what_is_read_from_the_pod_is_written_here() {
    let (pod, laptop) = (Pod::shared(), with_mode(None));
    let script = "echo x > /data/swap/new; echo $?; echo y >> /data/swap/key; echo $?; rm /data/swap/key; echo $?; \
                  mkdir /data/swap/folder; echo $?; cat /data/swap/key; echo z > ~/own; cat ~/own";
    let outcome = laptop.run(mirrored(&laptop, &pod, &["sh", "-c", script])).success();
    let refused: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(refused, ["2", "2", "1", "1", "one", "z"], "{}", outcome.stderr);
    assert_eq!(pod.run(&["sh", "-c", "ls -A /data/swap; cat /data/swap/key"]), "..data\n..one\n..two\nkey\none\n");
}

#[test]
fn what_is_mapped_to_what_is_read_from_the_pod_is_written_here() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    let mapping = format!(r#"{{"^{}/conf/": "/data/tree/"}}"#, laptop.home().display());
    laptop.write(".mirror.json", &format!(r#"{{"feature": {{"fs": {{"mapping": {mapping}}}}}}}"#));
    let program = "
import errno, os
def tried(work):
    try: print(work())
    except OSError as error: print(errno.errorcode[error.errno])
os.chdir(os.environ['HOME'])
tried(lambda: open('conf/plain.txt').read().strip())
tried(lambda: open('conf/plain.txt', 'a'))
tried(lambda: os.mkdir('conf/new'))
tried(lambda: os.rename('conf/plain.txt', 'conf/new'))
tried(lambda: os.remove('conf/plain.txt'))
tried(lambda: os.chmod('conf/plain.txt', 0o600))
tried(lambda: os.access('conf/plain.txt', os.W_OK))
";
    let shown = printed(&laptop, &pod, &["/usr/bin/python3", "-c", program]);
    // This machine has no such folder.
    assert_eq!(shown, "hello\nENOENT\nENOENT\nENOENT\nENOENT\nENOENT\nFalse\n");
}

#[test]
fn in_the_mode_that_writes_all_is_the_pods_but_what_this_machine_needs() {
    let (pod, laptop) = (Pod::shared(), with_mode(Some("write")));
    let folder = "/store/by-mode";
    let script = format!(
        "mkdir {folder} && cd {folder} && echo one > a && echo two >> a && mv a b && cat b && ln -s b c && \
         echo own > ~/own && cat ~/own && echo temporary > /tmp/mirror-by-mode && rm /tmp/mirror-by-mode && \
         (echo x > /app/config/new || echo x > /none/new) 2>&1 | grep -c -e 'Read-only' -e 'nonexistent'"
    );
    assert_eq!(printed(&laptop, &pod, &["sh", "-c", &script]), "one\ntwo\nown\n2\n");
    assert_eq!(std::fs::read_to_string(laptop.home().join("own")).expect("written here"), "own\n");
    let shown = pod.run(&["sh", "-c", &format!("cat {folder}/b && readlink {folder}/c && rm -r {folder}")]);
    assert_eq!(shown, "one\ntwo\nb\n");
    let shown = laptop.run(laptop.mirror(["fs", "explain", "/store/x"])).success().stdout;
    assert_eq!(shown, "/store/x: the pod's: nothing else names it, and feature.fs.mode says so\n");
}

#[test]
fn each_mode_is_as_it_says() {
    let pod = Pod::shared();
    // A volume, and the folder above it, which this machine does not have.
    let script = "for path in /app/config/settings.yaml /app; do [ -e $path ] && echo yes || echo no; done";
    for (mode, expected) in
        [("local", "no\nno\n"), ("localwithoverrides", "yes\nno\n"), ("read", "yes\nyes\n"), ("write", "yes\nyes\n")]
    {
        assert_eq!(printed(&with_mode(Some(mode)), &pod, &["sh", "-c", script]), expected, "{mode}");
    }
}

#[test]
fn programs_of_this_machine_find_what_they_need() {
    let (pod, laptop) = (Pod::shared(), with_mode(None));
    laptop.write("app/main.py", "import json, ssl, sqlite3, zoneinfo, locale, helper, curses\n\
        import getpass, pwd, os, tempfile\n\
        locale.setlocale(locale.LC_ALL, 'C.UTF-8')\n\
        curses.setupterm('xterm')\n\
        print(helper.VALUE, zoneinfo.ZoneInfo('Europe/Berlin').key, pwd.getpwuid(0).pw_name)\n\
        with tempfile.NamedTemporaryFile('w+') as file:\n    file.write('x'); file.flush(); print(open(file.name).read())\n\
        print(open(os.path.join(os.path.dirname(__file__), 'data.txt')).read(), sqlite3.connect('db').execute('select 1').fetchall())\n");
    laptop.write("app/helper.py", "VALUE = 'of the project'\n");
    laptop.write("app/data.txt", "data");
    laptop.write("web/package.json", r#"{"type": "commonjs"}"#);
    laptop.write("web/index.js", "const os = require('os'), fs = require('fs'); console.log(fs.realpathSync(__dirname) === \
        fs.realpathSync('web'), require('./package.json').type, fs.readFileSync('/app/config/settings.yaml', 'utf8').trim())\n");
    let python = printed(&laptop, &pod, &["/usr/bin/python3", "app/main.py"]);
    assert_eq!(python, "of the project Europe/Berlin root\nx\ndata [(1,)]\n");
    assert_eq!(printed(&laptop, &pod, &["node", "web/index.js"]), "true commonjs level: debug\n");
    laptop.write("Main.java", "public class Main { public static void main(String[] a) throws Exception { \
        System.out.println(java.time.ZoneId.of(\"Asia/Tokyo\") + \" \" + javax.net.ssl.SSLContext.getDefault().getProtocol() + \" \" + \
        java.nio.file.Files.readString(java.nio.file.Path.of(\"/app/config/settings.yaml\")).trim()); } }\n");
    assert_eq!(printed(&laptop, &pod, &["java", "Main.java"]), "Asia/Tokyo Default level: debug\n");
    let tools = "git init -q repo && cd repo && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first && \
                 git log --format=%s && bash -lc 'echo login' && perl -MFile::Spec -e 'print File::Spec->tmpdir, \"\\n\"'";
    assert_eq!(printed(&laptop, &pod, &["sh", "-c", tools]), "first\nlogin\n/tmp\n");
}

#[test]
fn credentials_of_the_user_are_not_found() {
    let (pod, laptop) = (Pod::shared(), with_mode(None));
    laptop.write(".kube/config", "mine\n");
    laptop.write(".config/gcloud/key", "mine\n");
    laptop.write(".config/other", "other\n");
    let script = "cat ~/.kube/config ~/.config/gcloud/key ~/.config/other";
    let outcome = laptop.run(mirrored(&laptop, &pod, &["sh", "-c", script])).exited(1);
    assert_eq!(outcome.stdout, "other\n");
    assert_eq!(outcome.stderr.matches("No such file or directory").count(), 2, "{}", outcome.stderr);
}

#[test]
fn explaining_knows_the_volumes_of_a_target() {
    let (pod, laptop) = (Pod::shared(), with_mode(None));
    let explained = |arguments: &[&str]| {
        let command: Vec<&str> = ["fs", "explain"].iter().chain(arguments).copied().collect();
        laptop.run(laptop.mirror(command)).success().stdout
    };
    let target = pod.target();
    let read = "the pod's to read, this machine's to write";
    for (path, expected) in [
        ("/data/x", format!("/data/x: {read}: the container has a volume at \"^/data(/|$)\"\n")),
        (
            "/var/run/x",
            "/var/run/x: local: what running programs leave for each other (\"^/var/run(/|$)\", by default)\n"
                .to_owned(),
        ),
        ("/x/main.py", "/x/main.py: local: a kind of program file (".to_owned()),
        ("/etc/hosts", "/etc/hosts: the pod's, as names are: ".to_owned()),
        ("/etc/ssl/certs/x.pem", format!("/etc/ssl/certs/x.pem: {read}: the authorities that the pod trusts (")),
    ] {
        let shown = explained(&["-t", &target, path]);
        assert!(shown.starts_with(&expected), "{shown}");
    }
    let home = laptop.home().join("x").display().to_string();
    assert!(explained(&[&home]).contains(": local: temporary files ("));
    assert!(explained(&["/data/x"]).contains("feature.fs.mode says so"));
}
