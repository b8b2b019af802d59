//! The command line of `mirror`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run a local program as if it ran in a pod of your Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "mirror", version, about, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command with the environment, network and names of a pod
    Exec(Exec),
    /// List what can be a target
    Ls(Ls),
    /// Check a configuration file and show every problem in it
    VerifyConfig(VerifyConfig),
    /// Show or explain the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Files: whose they are
    #[command(subcommand)]
    Fs(FsCommand),
    /// Make an image of the agent, for clusters where it cannot be delivered otherwise
    #[command(subcommand)]
    Image(ImageCommand),
    /// Help an editor: a language server with targets and sessions, over standard input and output
    Serve {
        /// Accepted for editors that pass it; there is no other way
        #[arg(long, hide = true)]
        stdio: bool,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Hold one session (started by other commands)
    #[command(hide = true, name = crate::session::spawn::COMMAND)]
    SessionHost {
        /// Start the host in a session of its own, then end
        #[arg(long, conflicts_with = "run")]
        detach: bool,
        /// Be the host
        #[arg(long)]
        run: bool,
    },
}

/// Which configuration and which cluster: the same options everywhere.
#[derive(Debug, Clone, Default, Args)]
pub struct Source {
    /// Configuration file; `-` reads standard input [default: .mirror.json, .mirror.yaml or .mirror.toml here]
    #[arg(short = 'f', long = "config", value_name = "FILE", env = "MIRROR_CONFIG")]
    pub config: Option<PathBuf>,
    /// Namespace of the target [default: that of the context]
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig file [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Do not verify the API server's certificate (test clusters only)
    #[arg(long)]
    pub accept_invalid_certificates: bool,
}

/// `mirror exec`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mirror exec -- curl http://my-service/            as a pod of its own (targetless)
  mirror exec -t deployment/web -- npm run dev      in the place of a pod of the deployment web
  mirror exec -t pod/web-1 -c app -- sh             in the place of one container
  mirror exec -t deployment/web --steal --header 'x-user: ann' -- npm run dev
                                                    with only those requests that have the header

Every option can also be set in the configuration file and by a MIRROR_… variable;
an option wins over a variable, a variable over the file.")]
pub struct Exec {
    /// Configuration and cluster.
    #[command(flatten)]
    pub source: Source,
    /// Whose place to take: KIND/NAME, label/KEY=VALUE or targetless
    #[arg(short, long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Container of the target's pod [default: its main one]
    #[arg(short, long, value_name = "NAME", env = "MIRROR_CONTAINER")]
    pub container: Option<String>,
    /// Take the target's connections instead of copying them (feature.network.incoming.mode: steal)
    #[arg(short, long)]
    pub steal: bool,
    /// Steal or copy only HTTP requests with a header that matches, as `Name: value`
    /// (feature.network.incoming.http_filter.header_filter)
    #[arg(long, value_name = "REGEX")]
    pub header: Option<String>,
    /// Image that has the agent inside [default: deliver the agent into an image that the node has]
    #[arg(long, value_name = "IMAGE")]
    pub agent_image: Option<String>,
    /// Show the start as JSON lines on standard error
    #[arg(long, env = "MIRROR_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
    /// Show nothing but errors; wins over -v
    #[arg(short, long, env = "MIRROR_QUIET", value_parser = BoolishValueParser::new())]
    pub quiet: bool,
    /// Show more: where each setting comes from, the session's log
    #[arg(short, long, env = "MIRROR_VERBOSE", value_parser = BoolishValueParser::new())]
    pub verbose: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `mirror ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// Configuration and cluster.
    #[command(flatten)]
    pub source: Source,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Kinds to list: pod, deployment, statefulset, … [default: all]
    #[arg(short = 't', long = "type", value_name = "KIND", value_delimiter = ',')]
    pub kinds: Vec<String>,
    /// Form of the list
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub output: ListFormat,
}

/// Form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns for people
    Table,
    /// One JSON array
    Json,
    /// One target path a line
    Name,
}

/// `mirror verify-config`.
#[derive(Debug, Args)]
pub struct VerifyConfig {
    /// The file; `-` reads standard input [default: .mirror.json and the like here]
    pub file: Option<PathBuf>,
    /// Print the problems as JSON
    #[arg(long)]
    pub json: bool,
}

/// `mirror config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show each setting with its value and where it comes from
    Show {
        /// Configuration and cluster.
        #[command(flatten)]
        source: Source,
        /// Show settings that are at their default, too
        #[arg(short, long)]
        all: bool,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the Role and RoleBinding that a session of the configuration needs, as YAML
    Rights {
        /// Configuration and cluster.
        #[command(flatten)]
        source: Source,
        /// Whose place is taken, instead of the configuration's
        #[arg(short, long, value_name = "TARGET")]
        target: Option<String>,
        /// Who gets them, as the cluster calls them (`kubectl auth whoami`) [default: USER, to be replaced]
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Write a .mirror.json with the settings of a file of mirrord that have an effect here
    Convert {
        /// The file, such as .mirrord/mirrord.json; it stays
        file: PathBuf,
    },
}

/// `mirror fs`.
#[derive(Debug, Subcommand)]
pub enum FsCommand {
    /// Tell whose file a path is in a session with a target, and which rule says so
    Explain {
        /// Configuration and cluster.
        #[command(flatten)]
        source: Source,
        /// Whose volumes count [default: no volumes]
        #[arg(short, long, value_name = "TARGET")]
        target: Option<String>,
        /// Container of the target's pod [default: its main one]
        #[arg(short, long, value_name = "NAME", env = "MIRROR_CONTAINER")]
        container: Option<String>,
        /// The path
        path: OsString,
    },
}

/// `mirror image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Write the agent's image as a tar archive for `kind load image-archive`, `minikube image load`,
    /// `docker load` or `ctr images import`
    Save {
        /// File to write; `-` writes to standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Name of the image
        #[arg(long, default_value = concat!("mirror/agent:", env!("CARGO_PKG_VERSION")))]
        name: String,
    },
}
