//! Programs of this machine work with files of the pod, with no configuration at all.

use std::io::Read;
use std::process::{Command, Stdio};

use tests::{Cluster, Laptop};

use super::{Pod, mirrored, printed};

/// Puts what a command on the laptop prints into a file of the pod.
fn carry(laptop: &Laptop, pod: &Pod, script: &str, path: &str) {
    let mut made = laptop.command("sh");
    let mut made = made.args(["-c", script]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut copy = Command::new(Cluster::shared().kubectl_path());
    copy.args(["exec", "-i", &pod.name, "-c", "app", "--", "sh", "-c", &format!("cat > {path}")]);
    let output = copy.stdin(made.stdout.take().expect("a pipe")).output().expect("kubectl runs");
    assert!(made.wait().expect("ends").success() && output.status.success(), "{script}");
}

#[test]
fn python_reads_settings_pickles_databases_and_modules() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    pod.run(&[
        "/usr/bin/python3",
        "-c",
        "
import pickle, sqlite3
open('/data/made/app.ini', 'w').write('[main]\\nlevel = 3\\n')
pickle.dump({'a': [1, 2]}, open('/data/made/a.pickle', 'wb'))
base = sqlite3.connect('/data/made/base.db')
base.execute('create table t (x)'), base.execute('insert into t values (42)'), base.commit()
",
    ]);
    let program = "
import configparser, importlib.util, pickle, sqlite3
settings = configparser.ConfigParser()
settings.read('/data/made/app.ini')
base = sqlite3.connect('file:/data/made/base.db?mode=ro', uri=True)
spec = importlib.util.spec_from_file_location('module', '/data/tree/sub/module.py')
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(settings['main']['level'], pickle.load(open('/data/made/a.pickle', 'rb')), base.execute('select x from t').fetchall(), module.VALUE)
";
    let shown = printed(&laptop, &pod, &["/usr/bin/python3", "-c", program]);
    assert_eq!(shown, "3 {'a': [1, 2]} [(42,)] of the pod\n");
}

#[test]
fn node_requires_streams_and_polls() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    pod.run(&["sh", "-c", "echo one > /data/made/polled"]);
    let program = "
const fs = require('fs'), path = '/data/made/polled';
console.log(require('/data/tree/data.json').answer, fs.readdirSync('/data/tree', { withFileTypes: true }).filter(e => e.isDirectory()).length);
let size = 0;
fs.createReadStream('/data/tree/big.bin').on('data', piece => size += piece.length).on('end', () => console.log('streamed', size));
fs.watchFile(path, { interval: 200 }, () => { console.log('changed', fs.readFileSync(path, 'utf8').trim()); fs.unwatchFile(path); });
";
    let mut running = laptop.start(mirrored(&laptop, &pod, &["node", "-e", program]));
    assert_eq!(running.wait_for("42"), "42 2");
    assert_eq!(running.wait_for("streamed"), "streamed 3000000");
    pod.run(&["sh", "-c", "echo two, longer > /data/made/polled"]);
    assert_eq!(running.wait_for("changed"), "changed two, longer");
    assert!(running.wait().success());
}

#[test]
fn java_maps_files_and_loads_a_key_store() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    let make =
        "keytool -genkeypair -alias own -dname CN=own -keyalg EC -storepass secret -keystore store >&2 && cat store";
    carry(&laptop, &pod, make, "/data/made/store");
    laptop.write(
        "Keys.java",
        "import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.security.*;
         public class Keys { public static void main(String[] a) throws Exception {
            try (FileChannel file = FileChannel.open(Path.of(\"/data/tree/big.bin\"))) {
                MappedByteBuffer all = file.map(FileChannel.MapMode.READ_ONLY, 0, file.size());
                System.out.println(all.load().remaining());
            }
            KeyStore store = KeyStore.getInstance(Path.of(\"/data/made/store\").toFile(), \"secret\".toCharArray());
            System.out.println(store.containsAlias(\"own\") + \" \" + Files.isReadable(Path.of(\"/data/private/file\")));
         } }",
    );
    assert_eq!(printed(&laptop, &pod, &["java", "Keys.java"]), "3000000\ntrue false\n");
}

#[test]
fn ruby_and_php_read_and_glob() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    pod.run(&["sh", "-c", "printf 'a = 1\\n' > /data/made/php.ini; echo '<?php return 7;' > /data/made/value.inc"]);
    let ruby = "require 'yaml'; puts YAML.load_file('/app/config/settings.yaml')['level'], Dir.glob('/data/tree/*.txt').sort.join(' '), \
                File.read('/data/tree/plain.txt'), File.symlink?('/data/tree/link.txt')";
    let links = "/data/tree/absolute.txt /data/tree/link.txt /data/tree/plain.txt";
    assert_eq!(printed(&laptop, &pod, &["ruby", "-e", ruby]), format!("debug\n{links}\nhello\ntrue\n"));
    let php = "echo implode(' ', glob('/data/tree/*.txt')), \"\\n\", parse_ini_file('/data/made/php.ini')['a'], include '/data/made/value.inc', \
               trim(file_get_contents('/app/config/settings.yaml')), is_link('/data/tree/link.txt'), \"\\n\";";
    assert_eq!(printed(&laptop, &pod, &["php", "-r", php]), format!("{links}\n17level: debug1\n"));
}

#[test]
fn nginx_serves_with_settings_certificates_and_pages_of_the_pod() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=pod -keyout key.pem -out cert.pem 2>/dev/null; \
                cat cert.pem key.pem";
    carry(&laptop, &pod, make, "/data/made/both.pem");
    let port = 20_000 + std::process::id() % 10_000;
    let home = laptop.home().display();
    let settings = format!(
        "daemon off; pid {home}/pid; error_log stderr; events {{}} http {{ access_log off; \
         client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; \
         scgi_temp_path {home}/s; include /data/made/[s]erver.conf; }}\n"
    );
    let server = format!(
        "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate /data/made/both.pem; ssl_certificate_key /data/made/both.pem; \
         root /data/tree; autoindex on; }}\n"
    );
    for (name, text) in [("nginx.conf", &settings), ("server.conf", &server)] {
        pod.run(&["sh", "-c", "printf %s \"$1\" > /data/made/$2", "sh", text, name]);
    }
    let nginx = laptop.start(mirrored(&laptop, &pod, &["nginx", "-e", "stderr", "-c", "/data/made/nginx.conf"]));
    let get = |path: &str| {
        let url = format!("https://127.0.0.1:{port}{path}");
        let options = ["-ksS", "--max-time", "20", "--retry", "40", "--retry-connrefused", "--retry-delay", "1"];
        let mut curl = Command::new("curl").args(options).arg(url).stdout(Stdio::piped()).spawn().expect("curl");
        let mut body = String::new();
        curl.stdout.take().expect("a pipe").read_to_string(&mut body).expect("text");
        curl.wait().expect("ends");
        body
    };
    assert_eq!(get("/plain.txt"), "hello\n");
    assert!(get("/sub/").contains("module.py"));
    drop(nginx);
}

#[test]
fn an_archive_is_the_same_as_one_made_in_the_pod() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    let script = "cd /data && tar c --format=gnu --sort=name --owner=0 --group=0 tree app 2>/dev/null | sha256sum; \
                  find tree -printf '%p %y %m %T@ %l\\n' | sort | sha256sum; md5sum tree/*.txt tree/sub/*.*; \
                  for file in tree/*; do [ -f $file ] && echo $file; done; cat < tree/plain.txt; \
                  while read line; do echo $line; done < tree/data.json";
    assert_eq!(printed(&laptop, &pod, &["bash", "-c", script]), pod.run(&["bash", "-c", script]));
}

#[test]
fn git_clones_a_repository_of_the_pod() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    // It is a build tool, which sessions leave alone.
    laptop.write(".mirror.json", r#"{"skip_build_tools": false}"#);
    let make = "git init -q work && cd work && git config user.name a && git config user.email a@b && echo text > file && git add file && \
                git commit -qm first && git clone -q --bare . ../repo.git && cd .. && tar c repo.git";
    carry(&laptop, &pod, make, "/data/made/repo.tar");
    pod.run(&["sh", "-c", "cd /data/made && rm -rf repo.git && tar xf repo.tar"]);
    let script =
        "git -c safe.directory='*' clone -q /data/made/repo.git copy && cat copy/file && git -C copy log --format=%s";
    assert_eq!(printed(&laptop, &pod, &["sh", "-c", script]), "text\nfirst\n");
}

#[test]
fn programs_and_scripts_of_the_pod_are_executed() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    let make = "mkdir -p /data/made/tools && cp /bin/echo /data/made/tools/say && cd /data/made/tools && \
                printf '#!/usr/bin/env python3\\nimport sys\\nprint(sys.argv)\\n' > args && chmod 755 args";
    pod.run(&["sh", "-c", make]);
    let script = "/data/made/tools/say hello; /data/made/tools/args a b; cd /data/made/tools && ./args; \
                  /usr/bin/python3 -c 'import subprocess; subprocess.run([\"./args\", \"c\"], cwd=\"/data/made/tools\")'";
    let expected = "hello\n['/data/made/tools/args', 'a', 'b']\n['./args']\n['./args', 'c']\n";
    assert_eq!(printed(&laptop, &pod, &["bash", "-c", script]), expected);
}

#[test]
fn a_database_is_written_in_the_pod() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    laptop.write(".mirror.json", r#"{"feature": {"fs": {"read_write": "^/store"}}}"#);
    pod.run(&["mkdir", "-p", "/store/database"]);
    let write = "
import sqlite3
base = sqlite3.connect('/store/database/a.db', isolation_level=None)
base.execute('create table line (number integer primary key, text text)')
base.execute('begin')
base.executemany('insert into line (text) values (?)', [(f'line {n}' * 20,) for n in range(2000)])
base.execute('commit')
base.execute('begin')
base.execute('delete from line')
base.execute('rollback')
base.execute('update line set text = upper(text) where number % 2')
base.execute('delete from line where number > 1500')
base.execute('vacuum')
other = sqlite3.connect('/store/database/a.db')
print(other.execute('select count(*), min(text), max(number) from line').fetchone())
base.close()
";
    let read = "
import hashlib, os, sqlite3
base = sqlite3.connect('/store/database/a.db')
print(base.execute('pragma integrity_check').fetchone(), os.listdir('/store/database'))
print(hashlib.md5(repr(base.execute('select * from line order by number').fetchall()).encode()).hexdigest())
";
    let written = printed(&laptop, &pod, &["/usr/bin/python3", "-c", write]);
    assert_eq!(written, format!("(1500, '{}', 1500)\n", "LINE 0".repeat(20)));
    let there = pod.run(&["/usr/bin/python3", "-c", read]);
    assert!(there.starts_with("('ok',) ['a.db']\n"), "{there}");
    assert_eq!(printed(&laptop, &pod, &["/usr/bin/python3", "-c", read]), there);
}

#[test]
fn node_watches_a_file_that_grows() {
    let (pod, laptop) = (Pod::shared(), Laptop::new());
    let path = "/data/swap/..one/watched";
    pod.run(&["sh", "-c", &format!("echo first > {path}")]);
    let program = "
const fs = require('fs');
const watcher = fs.watch(process.argv[1], (event) => {
    const text = fs.readFileSync(process.argv[1], 'utf8');
    console.log(event, JSON.stringify(text));
    if (text.includes('second')) watcher.close();
});
console.log('watching');
";
    let mut node = laptop.start(mirrored(&laptop, &pod, &["node", "-e", program, path]));
    node.wait_for("watching");
    pod.run(&["sh", "-c", &format!("echo second >> {path}")]);
    assert_eq!(node.wait_for("second"), "change \"first\\nsecond\\n\"");
    assert!(node.wait().success());
    pod.run(&["rm", path]);
}
