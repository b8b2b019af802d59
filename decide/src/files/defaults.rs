//! What is known of paths before the user says anything: which are this machine's, so that its own programs start and
//! work whatever the pod's image has, which are the pod's, and which are better not found.
//!
//! User patterns and the volumes of the container come first, then these lists in their order, then the mode.

use super::Rule;

/// Folders of this machine, with all below them, and why.
pub const PLACES: &[(&str, &str)] = &[
    ("/proc", KERNEL),
    ("/sys", KERNEL),
    ("/dev", KERNEL),
    ("/selinux", KERNEL),
    ("/bin", PROGRAMS),
    ("/sbin", PROGRAMS),
    ("/usr", PROGRAMS),
    ("/lib", PROGRAMS),
    ("/lib32", PROGRAMS),
    ("/lib64", PROGRAMS),
    ("/libx32", PROGRAMS),
    ("/opt", PROGRAMS),
    ("/snap", PROGRAMS),
    ("/nix", PROGRAMS),
    ("/gnu/store", PROGRAMS),
    ("/home/linuxbrew", PROGRAMS),
    ("/vscode", "the editor's server in a development container"),
    ("/mnt/c", "the disk of Windows in WSL"),
    ("/mnt/wsl", "a folder of WSL"),
    ("/mnt/wslg", "a folder of WSL"),
    ("/etc", SETTINGS),
    ("/var/cache/fontconfig", CACHES),
    ("/var/cache/ldconfig", CACHES),
    ("/var/cache/man", CACHES),
    ("/var/lib/alternatives", PACKAGES),
    ("/var/lib/apt", PACKAGES),
    ("/var/lib/dbus", SETTINGS),
    ("/var/lib/dpkg", PACKAGES),
    ("/var/lib/flatpak", PACKAGES),
    ("/var/lib/gems", PACKAGES),
    ("/var/lib/ghc", PACKAGES),
    ("/var/lib/php", PACKAGES),
    ("/var/lib/rpm", PACKAGES),
    ("/var/lib/snapd", PACKAGES),
    ("/var/lib/texmf", PACKAGES),
    ("/var/db", CACHES),
    ("/home", "homes of users"),
    ("/tmp", TEMPORARY),
    ("/var/tmp", TEMPORARY),
    ("/run", RUNNING),
    ("/var/run", RUNNING),
    ("/var/lock", RUNNING),
];

const KERNEL: &str = "the kernel's";
const PROGRAMS: &str = "programs and libraries";
const SETTINGS: &str = "settings of programs";
const PACKAGES: &str = "packages of programs";
const CACHES: &str = "caches of programs";
const TEMPORARY: &str = "temporary files";
const RUNNING: &str = "what running programs leave for each other";

/// Kinds of paths that are this machine's wherever they are.
pub const KINDS: &[(&str, &str)] = &[
    (r"^/$", "the root"),
    (r"\.(so|sh|rb|py|pyc|pyd|pyi|pth|jar|class|js|cjs|mjs|node|plist|pdb|dll)$", "a kind of program file"),
    (r"\.so\.[0-9.]+$", "a library"),
    (
        r"/(pyvenv\.cfg|venv\.cfg|jvm\.cfg|package\.json|tsconfig\.json|\.tool-versions|\.yarnrc[^/]*)$",
        "made for a tool",
    ),
    (
        r"/(node_modules|site-packages|dist-packages|__pycache__|\.git|\.venv|\.asdf|\.pyenv|\.rbenv|\.nvm)(/|$)",
        "a folder of a tool",
    ),
];

/// Files whose contents are about where a program runs: the pod's.
pub const OF_THE_POD: &[(&str, &str)] = &[(CERTIFICATES, "the authorities that the pod trusts")];

/// The pod's only where the pod has it: without any, no program could make a safe connection.
pub const CERTIFICATES: &str = "/etc/ssl/certs";

/// Folders below the user's home with credentials for clouds and clusters, which a program is not to use in the place
/// of the pod's.
pub const CREDENTIALS: &[&str] = &[".config/gcloud", ".kube", ".azure"];

/// Variables that name places of this machine, in some of which several are separated by colons.
pub const VARIABLES: &[&str] = &[
    "HOME",
    "PWD",
    "TMPDIR",
    "TMP",
    "TEMP",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "ASDF_DATA_DIR",
    "ASDF_DIR",
    "BUNDLE_PATH",
    "CARGO_HOME",
    "CATALINA_HOME",
    "COMPOSER_HOME",
    "CONDA_PREFIX",
    "COREPACK_HOME",
    "CURL_CA_BUNDLE",
    "DENO_DIR",
    "DOTNET_ROOT",
    "GEM_HOME",
    "GEM_PATH",
    "GIT_EXEC_PATH",
    "GOCACHE",
    "GOMODCACHE",
    "GOPATH",
    "GOROOT",
    "GRADLE_USER_HOME",
    "HOMEBREW_PREFIX",
    "JAVA_HOME",
    "LD_LIBRARY_PATH",
    "LOCPATH",
    "M2_HOME",
    "MAVEN_HOME",
    "MISE_DATA_DIR",
    "NODE_EXTRA_CA_CERTS",
    "NODE_PATH",
    "NPM_CONFIG_CACHE",
    "NPM_CONFIG_PREFIX",
    "NUGET_PACKAGES",
    "NVM_DIR",
    "PERL5LIB",
    "PIP_CACHE_DIR",
    "PNPM_HOME",
    "POETRY_HOME",
    "PYENV_ROOT",
    "PYTHONHOME",
    "PYTHONPATH",
    "RBENV_ROOT",
    "REQUESTS_CA_BUNDLE",
    "RUBYLIB",
    "RUSTUP_HOME",
    "SDKMAN_DIR",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TZDIR",
    "UV_CACHE_DIR",
    "VIRTUAL_ENV",
    "VOLTA_HOME",
    "YARN_CACHE_FOLDER",
    "npm_config_cache",
    "npm_config_prefix",
];

/// The pattern of a path and all below it.
pub fn below(path: &str) -> String {
    let mut pattern = String::from("^");
    for c in path.trim_end_matches('/').chars() {
        if c.is_ascii_punctuation() && !matches!(c, '/' | '-' | '_') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push_str("(/|$)");
    pattern
}

/// Whether `path` is `folder` or below it.
pub fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the lists say, beside `places` of this machine and the `home` of its user: rule, pattern and why, in the order
/// in which they are heeded.
pub fn rules(places: &[(String, String)], home: Option<&str>) -> Vec<(Rule, String, String)> {
    let mut rules = Vec::new();
    for folder in home.into_iter().flat_map(|home| CREDENTIALS.iter().map(move |folder| format!("{home}/{folder}"))) {
        rules.push((Rule::NotFound, below(&folder), "credentials of the user of this machine".to_owned()));
    }
    let of_the_pod = OF_THE_POD.iter().map(|(folder, why)| (Rule::Read, below(folder), (*why).to_owned()));
    rules.extend(of_the_pod);
    let mut local = |pattern, why: &str| rules.push((Rule::Unnamed, pattern, why.to_owned()));
    KINDS.iter().for_each(|(pattern, why)| local((*pattern).to_owned(), why));
    PLACES.iter().for_each(|(folder, why)| local(below(folder), why));
    for (place, why) in places {
        local(below(place), why);
        // Programs look at each folder on the way to where they are.
        for above in above(place).filter(|above| !PLACES.iter().any(|(folder, _)| is_below(above, folder))) {
            let alone = below(above).replace("(/|$)", "/?$");
            local(alone, "above what is of this machine");
        }
    }
    rules
}

/// The folders above a path, without the root.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.char_indices().filter(|(at, c)| *c == '/' && *at > 0).map(|(at, _)| at);
    ends.filter_map(|end| path.get(..end))
}

/// Whether a volume that the container has at `path` is the pod's for the program here: not where that would take
/// what this machine's programs need, as a volume at `/tmp` does.
pub fn takes_volume(path: &str, places: &[(String, String)]) -> bool {
    let fixed = PLACES.iter().map(|(folder, _)| *folder);
    let mut own = fixed.chain(places.iter().map(|(place, _)| place.as_str()));
    path.starts_with('/') && path.len() > 1 && !own.any(|place| is_below(place, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Vec<(String, String)> {
        [("/srv/code/app", "the current folder"), ("/home/me", "the home")]
            .map(|(place, why)| (place.to_owned(), why.to_owned()))
            .to_vec()
    }

    #[test]
    fn a_pattern_of_a_folder_is_about_it_and_what_is_below() {
        for (path, expected) in [
            ("/app", "^/app(/|$)"),
            ("/app/", "^/app(/|$)"),
            ("/a.b/c++", r"^/a\.b/c\+\+(/|$)"),
            ("/ünï-x_y", "^/ünï-x_y(/|$)"),
        ] {
            assert_eq!(below(path), expected);
        }
        assert!(is_below("/app/x", "/app") && is_below("/app", "/app/") && !is_below("/apple", "/app"));
    }

    #[test]
    fn volumes_are_the_pods_unless_this_machine_would_lose_a_place() {
        for (path, expected) in [
            ("/data", true),
            ("/var/run/secrets/kubernetes.io/serviceaccount", true),
            ("/etc/nginx/conf.d", true),
            ("/home/app/data", true),
            ("/srv/code/app/config", true),
            ("/var/lib/mysql", true),
            ("/tmp", false),
            ("/tmp/", false),
            ("/tmp/config", true),
            ("/var", false),
            ("/var/run", false),
            ("/home", false),
            ("/home/me", false),
            ("/srv/code", false),
            ("/usr", false),
            ("/", false),
            ("relative", false),
        ] {
            assert_eq!(takes_volume(path, &places()), expected, "{path}");
        }
    }

    #[test]
    fn folders_above_a_place_are_local_alone() {
        let rules = rules(&places(), Some("/home/me"));
        let has = |pattern: &str| rules.iter().any(|(_, known, _)| known == pattern);
        assert!(has("^/srv/code/app(/|$)") && has("^/srv/code/?$") && has("^/srv/?$"));
        assert!(!has("^/home/?$"), "is a place itself");
        assert_eq!(rules[0].0, Rule::NotFound);
        assert_eq!(rules[0].1, r"^/home/me/\.config/gcloud(/|$)");
    }
}
