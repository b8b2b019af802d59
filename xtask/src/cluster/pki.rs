//! Keys and certificates, by the `openssl` program: one authority signs everything, as in small
//! clusters. Certificates may live for minutes only, to test what happens when they end.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use super::clock::{self, compact};
use super::command::run;
use super::layout::{CONTROL_ADDRESS, Layout, Machine};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The pair of the workload that speaks TLS.
pub(crate) const ECHO_SERVER: &str = "echo-server";

/// What a certificate says of its holder.
pub(crate) struct Subject<'a> {
    /// The user's name, or the server's.
    pub(crate) name: &'a str,
    /// The user's groups.
    pub(crate) groups: &'a [&'a str],
    /// For servers: `IP:…` and `DNS:…` entries.
    pub(crate) server_names: &'a [String],
    /// When it ends, from now.
    pub(crate) lives: Duration,
}

impl<'a> Subject<'a> {
    /// A user of the API server.
    pub(crate) fn user(name: &'a str, groups: &'a [&'a str]) -> Subject<'a> {
        Subject { name, groups, server_names: &[], lives: YEAR }
    }

    fn server(name: &'a str, server_names: &'a [String]) -> Subject<'a> {
        Subject { name, groups: &[], server_names, lives: YEAR }
    }
}

/// A key and its certificate, both in PEM.
pub(crate) struct Pair {
    /// The private key.
    pub(crate) key: PathBuf,
    /// The certificate.
    pub(crate) certificate: PathBuf,
}

/// The authority of one cluster.
pub(crate) struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// The cluster's authority, made when it is missing, with all certificates of the servers.
    pub(crate) fn ensure(layout: &Layout, nodes: u8) -> Result<Authority> {
        let authority = Authority { folder: layout.path("pki") };
        if !authority.path("ca.crt").exists() {
            authority.make()?;
        }
        let api_names = [
            "IP:127.0.0.1".to_owned(),
            format!("IP:{CONTROL_ADDRESS}"),
            "IP:10.96.0.1".to_owned(),
            "DNS:localhost".to_owned(),
            "DNS:kubernetes".to_owned(),
            "DNS:kubernetes.default".to_owned(),
            "DNS:kubernetes.default.svc".to_owned(),
            "DNS:kubernetes.default.svc.cluster.local".to_owned(),
        ];
        authority.ensure_pair("apiserver", &Subject::server("kube-apiserver", &api_names))?;
        let masters = ["system:masters"];
        authority.ensure_pair("apiserver-kubelet", &Subject::user("kube-apiserver", &masters))?;
        for number in 1..=nodes {
            let node = Machine::Node(number);
            let names = [format!("IP:{}", node.address()), format!("DNS:{}", node.name())];
            let pair = format!("{}-server", node.name());
            authority.ensure_pair(&pair, &Subject::server(&node.name(), &names))?;
        }
        authority.ensure_pair(ECHO_SERVER, &Subject::server("echo-server", &echo_names()))?;
        if !authority.path("service-accounts.pub").exists() {
            authority.make_key("service-accounts.key")?;
            // The API server reads the public half from this form only.
            let [key, public] =
                ["service-accounts.key", "service-accounts.pub"].map(|file| text(&authority.path(file)));
            run("openssl", &["pkey", "-in", &key, "-pubout", "-out", &public])?;
        }
        Ok(authority)
    }

    /// The authority of a cluster that is there already.
    pub(crate) fn open(layout: &Layout) -> Result<Authority> {
        let authority = Authority { folder: layout.path("pki") };
        fs::metadata(authority.path("ca.key"))
            .with_context(|| format!("find the authority in {}", authority.folder.display()))?;
        Ok(authority)
    }

    /// A file of the authority.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// A key with a certificate, made anew only when missing.
    pub(crate) fn ensure_pair(&self, file: &str, subject: &Subject<'_>) -> Result<Pair> {
        let pair = self.pair(file);
        if pair.key.exists() && pair.certificate.exists() {
            return Ok(pair);
        }
        self.issue(file, subject)
    }

    /// A new key with a new certificate.
    pub(crate) fn issue(&self, file: &str, subject: &Subject<'_>) -> Result<Pair> {
        // openssl keeps a list of what it signed, and two at once would spoil it.
        let lock = File::create(self.path("lock")).context("make the lock of the authority")?;
        flock(&lock, FlockOperation::LockExclusive).context("lock the authority")?;
        self.sign(file, subject).with_context(|| format!("make a certificate for {}", subject.name))
    }

    fn sign(&self, file: &str, subject: &Subject<'_>) -> Result<Pair> {
        let pair = self.pair(file);
        self.make_key(&format!("{file}.key"))?;
        let request = self.path(&format!("{file}.csr"));
        let mut name = String::new();
        for group in subject.groups {
            name += &format!("/O={}", escape(group));
        }
        name += &format!("/CN={}", escape(subject.name));
        let extensions = self.path(&format!("{file}.ext"));
        fs::write(&extensions, extension_lines(subject)).context("write the extensions")?;
        let (key, request, extensions) = (text(&pair.key), text(&request), text(&extensions));
        let config = text(&self.path("openssl.cnf"));
        run("openssl", &["req", "-new", "-utf8", "-config", &config, "-key", &key, "-subj", &name, "-out", &request])?;
        let certificate = text(&pair.certificate);
        let now = clock::now()?;
        // Clocks of others may be behind ours.
        let start = compact(now.saturating_sub(Duration::from_secs(300)));
        let end = compact(now + subject.lives);
        run(
            "openssl",
            &[
                "ca",
                "-batch",
                "-notext",
                "-config",
                &config,
                "-in",
                &request,
                "-out",
                &certificate,
                "-startdate",
                &start,
                "-enddate",
                &end,
                "-extfile",
                &extensions,
            ],
        )?;
        for used_up in [request, extensions] {
            fs::remove_file(&used_up).with_context(|| format!("remove {used_up}"))?;
        }
        Ok(pair)
    }

    /// Where a key and its certificate are.
    pub(crate) fn pair(&self, file: &str) -> Pair {
        Pair { key: self.path(&format!("{file}.key")), certificate: self.path(&format!("{file}.crt")) }
    }

    fn make(&self) -> Result<()> {
        fs::create_dir_all(self.path("signed")).context("make the folder of the authority")?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700))
            .context("close the folder of the authority")?;
        fs::write(self.path("index.txt"), "").context("write the list of certificates")?;
        fs::write(self.path("openssl.cnf"), self.config()).context("write openssl.cnf")?;
        self.make_key("ca.key")?;
        let (key, config) = (text(&self.path("ca.key")), text(&self.path("openssl.cnf")));
        let certificate = text(&self.path("ca.crt"));
        run(
            "openssl",
            &[
                "req",
                "-new",
                "-x509",
                "-config",
                &config,
                "-extensions",
                "authority",
                "-key",
                &key,
                "-subj",
                "/CN=mirror test cluster",
                "-days",
                "3650",
                "-out",
                &certificate,
            ],
        )
        .map(drop)
    }

    fn make_key(&self, file: &str) -> Result<()> {
        let path = text(&self.path(file));
        let curve = "ec_paramgen_curve:P-256";
        run("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", &path])?;
        Ok(())
    }

    fn config(&self) -> String {
        let folder = self.folder.display();
        format!(
            "[req]\n\
             distinguished_name = name\n\
             [name]\n\
             [authority]\n\
             basicConstraints = critical, CA:true\n\
             keyUsage = critical, keyCertSign, cRLSign\n\
             subjectKeyIdentifier = hash\n\
             [ca]\n\
             default_ca = cluster\n\
             [cluster]\n\
             database = {folder}/index.txt\n\
             new_certs_dir = {folder}/signed\n\
             certificate = {folder}/ca.crt\n\
             private_key = {folder}/ca.key\n\
             default_md = sha256\n\
             rand_serial = yes\n\
             unique_subject = no\n\
             email_in_dn = no\n\
             policy = anything\n\
             [anything]\n\
             organizationName = optional\n\
             commonName = supplied\n"
        )
    }
}

fn echo_names() -> Vec<String> {
    let names = [
        "echo-server",
        "echo-server.default",
        "echo-server.default.svc",
        "echo-server.default.svc.cluster.local",
        "echo-headless",
        "service.dns.test",
    ];
    names.iter().map(|name| format!("DNS:{name}")).collect()
}

fn extension_lines(subject: &Subject<'_>) -> String {
    let mut lines = "basicConstraints = critical, CA:false\n\
                     keyUsage = critical, digitalSignature\n\
                     authorityKeyIdentifier = keyid\n"
        .to_owned();
    if subject.server_names.is_empty() {
        lines += "extendedKeyUsage = clientAuth\n";
    } else {
        lines += "extendedKeyUsage = serverAuth, clientAuth\n";
        lines += &format!("subjectAltName = {}\n", subject.server_names.join(", "));
    }
    lines
}

/// Escapes what has a meaning in openssl's way to write a name.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('/', "\\/").replace('+', "\\+")
}

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}
