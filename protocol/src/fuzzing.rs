//! What holds for messages of any bytes. `cargo xtask fuzz` looks for exceptions; the tests see that there is none among
//! the seeds.

use crate::agent::{
    AnyRequest, Arrival, Connected, Description, Environment, Event, Named, RemoteError, ResolveError, Resolved,
    UdpMessage, UdpOpened, UnixDatagram,
};
use crate::{codec, layer};

/// Bytes are refused, or are a message that is the same after another journey.
macro_rules! travel {
    ($message:ty, $bytes:expr) => {
        if let Ok(value) = codec::decode::<$message>($bytes) {
            let again = codec::encode(&value).expect("what came can go");
            assert!(again.len() <= codec::PREFIX + $bytes.len(), "no form is shorter than ours");
            let mut buffer = vec![0; again.len()];
            assert_eq!(codec::encode_into(&value, &mut buffer), Ok(&again[..]));
            assert_eq!(codec::decode::<$message>(&again[codec::PREFIX..]), Ok(value));
        }
    };
}

/// A message of the type that the first byte chooses.
pub fn messages(bytes: &[u8]) {
    let [kind, bytes @ ..] = bytes else { return };
    match kind {
        0 => travel!(AnyRequest, bytes),
        1 => travel!(Result<Environment, RemoteError>, bytes),
        2 => travel!(Result<Description, RemoteError>, bytes),
        3 => travel!(Result<Resolved, ResolveError>, bytes),
        4 => travel!(Result<Named, ResolveError>, bytes),
        5 => travel!(Result<Vec<u8>, ResolveError>, bytes),
        6 => travel!(Result<Connected, RemoteError>, bytes),
        7 => travel!(Result<UdpOpened, RemoteError>, bytes),
        8 => travel!(UdpMessage, bytes),
        9 => travel!(UnixDatagram, bytes),
        10 => travel!(Arrival, bytes),
        11 => travel!(Event, bytes),
        12 => travel!(layer::Message<'_>, bytes),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Resolve;

    #[test]
    fn messages_travel_whatever_they_are_cut_to() {
        let request = AnyRequest::Resolve(Resolve { name: "shop".to_owned(), families: crate::agent::Families::Both });
        let whole = codec::encode(&request).expect("encodes");
        let bytes = [&[0], &whole[codec::PREFIX..]].concat();
        (0..=bytes.len()).for_each(|end| messages(&bytes[..end]));
    }
}
