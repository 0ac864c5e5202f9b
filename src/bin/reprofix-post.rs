//! Posts one message over HTTP or HTTPS, for the webhook of `reprofix nightly`.
//!
//! A separate program, the only one that uses the network: looking up a host name needs libraries
//! that a static program such as reprofix cannot load.
//!
//! Standard input is the address on one line, one header (`NAME: VALUE`) per line, an empty line,
//! and the body. The status code of the response goes to standard output, whatever it is; without a
//! response the exit code is 2 and standard error says why. Neither ever contains the address,
//! which may be a secret itself.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The largest message, in bytes.
const MOST: u64 = 16 << 20;
/// How long a post may take.
const PATIENCE: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let mut message = String::new();
    let read = match std::io::stdin().take(MOST + 1).read_to_string(&mut message) {
        Ok(length) if length as u64 > MOST => Err("the message is longer than 16 MiB".to_owned()),
        read => read.map_err(|e| format!("reading standard input: {e}")),
    };
    match read.and_then(|_| post(&message)) {
        Ok(status) => {
            println!("{status}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn post(message: &str) -> Result<u16, String> {
    let no_message =
        || "usage: reprofix-post <MESSAGE, where MESSAGE begins with an address".to_owned();
    let (head, body) = message.split_once("\n\n").ok_or_else(no_message)?;
    let mut head = head.lines();
    let address = head.next().ok_or_else(no_message)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ureq::tls::TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(ureq::tls::RootCerts::PlatformVerifier)
        .build();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("reprofix/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut post = agent.post(address);
    for (name, value) in head.filter_map(|line| line.split_once(": ")) {
        post = post.header(name, value);
    }
    match post.send(body.as_bytes()) {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(ureq::Error::Timeout(_)) => Err("it did not answer in time".into()),
        Err(ureq::Error::Io(error)) => Err(error.kind().to_string()),
        Err(_) => Err("the connection failed".into()),
    }
}
