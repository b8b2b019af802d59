//! Functions of the C library that take a path and have no hook, with the reason. What its headers declare beside
//! these and the table is a failure of the test below.

/// Symbols that are left alone for one reason.
pub(super) struct Unhooked {
    pub(super) symbols: &'static [&'static str],
    pub(super) why: &'static str,
}

pub(super) const UNHOOKED: &[Unhooked] = &[
    Unhooked {
        symbols: &["fts_open", "fts64_open", "fts_read", "fts64_read", "fts_children", "fts64_children"],
        why: "walk through this machine's files; what is built with a copy of its own (`gnulib`: `du`, `chmod`, `rm`) sees the pod's",
    },
    Unhooked { symbols: &["wordexp"], why: "finds this machine's names; shells have their own" },
    Unhooked {
        symbols: &["mktemp", "tempnam", "tmpnam", "tmpnam_r", "tmpfile", "tmpfile64"],
        why: "only look for a free name, or are about the temporary folder, which is this machine's",
    },
    Unhooked { symbols: &["dlmopen"], why: "a library in a name space of its own sees no hooks either" },
    Unhooked {
        symbols: &["shm_open", "shm_unlink", "sem_open", "sem_unlink", "mq_open", "mq_unlink", "ftok"],
        why: "name objects of this machine's kernel",
    },
    Unhooked {
        symbols: &[
            "acct",
            "chroot",
            "fanotify_mark",
            "fspick",
            "mount",
            "mount_setattr",
            "move_mount",
            "name_to_handle_at",
            "open_tree",
            "pivot_root",
            "quotactl",
            "revoke",
            "swapoff",
            "swapon",
            "umount",
            "umount2",
            "uselib",
        ],
        why: "change or describe this machine's system, most of them for root only",
    },
    Unhooked {
        symbols: &[
            "bindtextdomain",
            "catopen",
            "getfsfile",
            "getfsspec",
            "iconv_open",
            "newlocale",
            "setlocale",
            "setmntent",
            "ttyname",
            "utmpname",
            "utmpxname",
        ],
        why: "read the C library's own files, which are this machine's",
    },
    Unhooked { symbols: &["__xpg_basename", "basename", "dirname", "fnmatch"], why: "look at the text only" },
];
