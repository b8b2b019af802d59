//! `LD_PRELOAD`'s value with and without this library (`ld.so(8)`: entries end at spaces or colons).

/// File name by which this library is known, whatever its directory: of a nested session too.
const FILE: &[u8] = b"libmirror_layer.so";

/// How a value has to change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not at all.
    Keep,
    /// To the bytes written, so many.
    Write(usize),
    /// The variable has to go.
    Drop,
    /// It should change, but the new value does not fit the room.
    NoRoom,
}

/// Puts `layer` in front of `value`, unless the library is in it.
pub(crate) fn with(value: &[u8], layer: &[u8], out: &mut [u8]) -> Change {
    if entries(value).any(is_layer) {
        return Change::Keep;
    }
    let separator: &[u8] = if value.is_empty() { b"" } else { b":" };
    write(out, &[layer, separator, value])
}

/// Takes the library out of `value` and leaves the other entries in their order.
pub(crate) fn without(value: &[u8], out: &mut [u8]) -> Change {
    if !entries(value).any(is_layer) {
        return Change::Keep;
    }
    let mut used = 0;
    for entry in entries(value).filter(|entry| !is_layer(entry)) {
        let separator: &[u8] = if used == 0 { b"" } else { b":" };
        match write(out.get_mut(used..).unwrap_or_default(), &[separator, entry]) {
            Change::Write(more) => used += more,
            _ => return Change::NoRoom,
        }
    }
    if used == 0 { Change::Drop } else { Change::Write(used) }
}

fn entries(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| matches!(byte, b' ' | b':')).filter(|entry| !entry.is_empty())
}

fn is_layer(entry: &[u8]) -> bool {
    entry.rsplit(|byte| *byte == b'/').next() == Some(FILE)
}

fn write(out: &mut [u8], parts: &[&[u8]]) -> Change {
    let mut used = 0;
    for part in parts {
        let Some(place) = out.get_mut(used..used + part.len()) else { return Change::NoRoom };
        place.copy_from_slice(part);
        used += part.len();
    }
    Change::Write(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "/cache/libmirror_layer.so";

    fn shown(change: Change, out: &[u8]) -> Option<String> {
        match change {
            Change::Keep => None,
            Change::Write(length) => Some(String::from_utf8_lossy(&out[..length]).into_owned()),
            other => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn the_library_goes_in_front_once() {
        for (value, expected) in [
            ("", Some("/cache/libmirror_layer.so")),
            ("/a.so", Some("/cache/libmirror_layer.so:/a.so")),
            ("/a.so b.so", Some("/cache/libmirror_layer.so:/a.so b.so")),
            (LAYER, None),
            ("/other/libmirror_layer.so", None),
            ("/a.so /cache/libmirror_layer.so", None),
        ] {
            let mut out = [0; 64];
            let change = with(value.as_bytes(), LAYER.as_bytes(), &mut out);
            assert_eq!(shown(change, &out).as_deref(), expected, "{value:?}");
        }
        assert_eq!(with(b"/a.so", LAYER.as_bytes(), &mut [0; 8]), Change::NoRoom);
    }

    #[test]
    fn only_the_library_goes_out() {
        for (value, expected) in [
            ("", None),
            ("/a.so", None),
            (LAYER, Some("Drop")),
            ("/cache/libmirror_layer.so:/a.so", Some("/a.so")),
            ("/a.so /cache/libmirror_layer.so b.so", Some("/a.so:b.so")),
            ("::/cache/libmirror_layer.so::", Some("Drop")),
        ] {
            let mut out = [0; 64];
            assert_eq!(shown(without(value.as_bytes(), &mut out), &out).as_deref(), expected, "{value:?}");
        }
    }
}
