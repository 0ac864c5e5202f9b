//! Notifications: a webhook, mail, workflow annotations; only when a stream's state changes.
//!
//! A stream's *state* is its last run's verdict, or `flaky` if equal inputs gave unequal verdicts,
//! so a stream that flips every night is reported once. The state last sent to each channel is in
//! the history, so a message that could not be sent is tried again after the next run.
//!
//! The webhook gets a POST of JSON ([`Message`]), signed over the body's bytes:
//! `X-Reprofix-Signature: sha256=HEX`, HMAC-SHA-256 keyed by the secret file's content without the
//! newline at its end. It is tried again after 1, 2, 4, … seconds if the connection fails or the
//! response is 429 or 5xx; `X-Reprofix-Delivery` is the same for all attempts to send one message.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::config::{Config, Mail, Notify, Webhook};
use super::night::pause;
use super::trimmed;
use crate::env;
use crate::history::{Class, History, Run};
use crate::text::counted;

/// The program that posts; it is beside this one or in the search path.
const POST: &str = "reprofix-post";

/// The most paths in a message.
const PATHS: usize = 10;

/// A message about one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Message {
    /// Name and version of this schema.
    pub schema: &'static str,
    /// The stream.
    pub stream: String,
    /// A verdict, or `flaky`.
    pub state: String,
    /// The state last sent to this channel; `null` the first time.
    pub before: Option<String>,
    /// The run, without its differences.
    pub run: Run,
    /// The number of differing paths.
    pub differences: usize,
    /// The first ten paths.
    pub paths: Vec<String>,
    /// The packages that own these paths, sorted.
    pub packages: Vec<String>,
    /// The run's page.
    pub url: Option<String>,
}

impl Message {
    /// Name and version of the schema.
    pub(crate) const SCHEMA: &'static str = "reprofix-notification-1";

    fn new(config: &Config, history: &History, run: &Run, state: &str) -> Result<Self> {
        let differences = history.differences(run.id, 0)?;
        let mut packages: Vec<_> = differences.iter().filter_map(|d| d.package.clone()).collect();
        packages.sort();
        packages.dedup();
        Ok(Message {
            schema: Self::SCHEMA,
            stream: run.stream.clone(),
            state: state.to_owned(),
            before: None,
            run: run.clone(),
            differences: differences.len(),
            paths: differences.into_iter().take(PATHS).map(|d| d.path).collect(),
            packages,
            url: page(config, run.id),
        })
    }

    /// The message in one line.
    fn line(&self) -> String {
        let was = self.before.as_deref().map(|s| format!(" (was {s})")).unwrap_or_default();
        let detail = match self.run.detail.is_empty() {
            true => String::new(),
            false => format!(": {}", self.run.detail),
        };
        format!("{} is {}{was}{detail}", self.stream, self.state)
    }

    /// The text of a mail.
    fn text(&self) -> String {
        let mut lines = vec![self.line(), String::new()];
        lines.extend(self.paths.iter().map(|path| format!("  {path}")));
        if self.differences > self.paths.len() {
            lines.push(format!("  … and {} more", self.differences - self.paths.len()));
        }
        if !self.packages.is_empty() {
            lines.push(format!("\nPackages: {}", self.packages.join(", ")));
        }
        if let Some(found) = self.run.bisected() {
            lines.push(format!("What makes the builds differ: {found}"));
        }
        lines.extend(self.url.iter().map(|url| format!("\n{url}")));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// The URL of a run's page, if the configuration has that of the pages.
pub(super) fn page(config: &Config, run: i64) -> Option<String> {
    let base = config.base_url.as_deref().filter(|_| config.pages.is_some())?;
    Some(format!("{}/run/{run}.html", trimmed(base)))
}

/// A channel for notifications.
struct Channel<'a> {
    name: &'static str,
    send: Box<Send<'a>>,
}

type Send<'a> = dyn Fn(&Message) -> Result<()> + 'a;

fn channels(notify: &Notify) -> Vec<Channel<'_>> {
    let mut all = Vec::new();
    if let Some(hook) = &notify.webhook {
        all.push(Channel { name: "webhook", send: Box::new(|m| post(hook, m)) });
    }
    if let Some(mail) = &notify.mail {
        all.push(Channel { name: "mail", send: Box::new(|m| send(mail, m)) });
    }
    if notify.github.unwrap_or_else(env::in_github_actions) {
        all.push(Channel { name: "github", send: Box::new(annotate) });
    }
    all
}

/// Sends what is new to every channel; returns the failures.
///
/// A first good run is not reported.
///
/// # Errors
///
/// Only if the history fails.
pub(crate) fn tell(config: &Config, history: &mut History, runs: &[&Run]) -> Result<Vec<String>> {
    let flaky = history.flaky(super::pages::NIGHTS)?;
    let mut failed = Vec::new();
    for run in runs {
        let is_flaky = flaky.iter().any(|f| f.stream == run.stream);
        let compared = matches!(run.verdict.class(), Class::Good | Class::Bad);
        let state = if is_flaky && compared { "flaky" } else { run.verdict.name() };
        let mut message = Message::new(config, history, run, state)?;
        for channel in channels(&config.notify) {
            message.before = history.told(&run.stream, channel.name)?;
            let first_and_good = message.before.is_none() && run.verdict.class() == Class::Good;
            let old = message.before.as_deref() == Some(state) || first_and_good;
            if old && !config.notify.always {
                if first_and_good {
                    history.set_told(&run.stream, channel.name, state, run.id)?;
                }
                continue;
            }
            match (channel.send)(&message) {
                Ok(()) => history.set_told(&run.stream, channel.name, state, run.id)?,
                Err(error) => failed.push(format!("{}: {}: {error:#}", run.stream, channel.name)),
            }
        }
    }
    Ok(failed)
}

/// Posts a message. No error contains the URL, which may be a secret itself.
fn post(hook: &Webhook, message: &Message) -> Result<()> {
    let body = serde_json::to_string(message)?;
    ensure!(!hook.url.contains(['\r', '\n']), "`url` contains a line break");
    let mut head = format!("{}\nContent-Type: application/json\n", hook.url);
    head.push_str(&format!("X-Reprofix-Delivery: {}\n", message.run.token));
    if let Some(file) = &hook.secret_file {
        let signature = signature(&secret(file)?, body.as_bytes());
        head.push_str(&format!("X-Reprofix-Signature: {signature}\n"));
    }
    let request = format!("{head}\n{body}");
    let mut said = String::new();
    for attempt in 0..hook.tries.max(1) {
        if attempt > 0 {
            pause(attempt - 1);
        }
        match answer(&request)? {
            Ok(200..=299) => return Ok(()),
            Ok(status) => {
                said = format!("it answered {status}");
                ensure!(status == 429 || (500..600).contains(&status), "{said}");
            }
            Err(why) => said = why,
        }
    }
    bail!("{said}, {}", counted(hook.tries.max(1), "time"))
}

/// The status of the response to one post, or why there was none.
fn answer(request: &str) -> Result<Result<u16, String>> {
    let program = env::companion(POST);
    let mut command = Command::new(&program);
    // Notifications are still sent if the job is interrupted.
    command.stdout(Stdio::piped()).process_group(0);
    let starting = || {
        let program = program.display();
        format!(
            "running {program}, which posts it: install it beside reprofix (`make install` does)"
        )
    };
    let (output, wrote) = feed(&mut command, request).with_context(starting)?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Ok(Err(if why.is_empty() { output.status.to_string() } else { why }));
    }
    wrote.with_context(|| format!("passing the message to {}", program.display()))?;
    let status = String::from_utf8_lossy(&output.stdout);
    let status = status.trim().parse();
    Ok(Ok(status.with_context(|| format!("{} printed no status", program.display()))?))
}

/// Starts a program and writes `text` to it; returns its output, and whether it read everything. It
/// may exit before that; its status says why.
fn feed(command: &mut Command, text: &str) -> Result<(Output, io::Result<()>)> {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let wrote = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(text.as_bytes()));
    Ok((child.wait_with_output()?, wrote))
}

fn secret(file: &std::path::Path) -> Result<Vec<u8>> {
    let mut secret = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
    }
    ensure!(!secret.is_empty(), "{} is empty", file.display());
    Ok(secret)
}

/// `sha256=` and the HMAC of `body` in hexadecimal digits.
fn signature(secret: &[u8], body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let tag = ring::hmac::sign(&key, body);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// Sends a mail through sendmail.
fn send(mail: &Mail, message: &Message) -> Result<()> {
    let mut text = String::new();
    for (name, value) in [("From", mail.from.clone()), ("To", mail.to.join(", "))] {
        ensure!(!value.contains(['\r', '\n']), "`{name}` contains a line break");
        text.push_str(&format!("{name}: {value}\n"));
    }
    // A stream's name and a state are plain ASCII, and nothing else is in a header.
    text.push_str(&format!("Subject: [reprofix] {} is {}\n", message.stream, message.state));
    text.push_str("MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n");
    text.push_str("Content-Transfer-Encoding: 8bit\nAuto-Submitted: auto-generated\n\n");
    text.push_str(&message.text());
    let program = mail.sendmail.display();
    let mut command = Command::new(&mail.sendmail);
    let (output, wrote) = feed(command.args(["-i", "-t"]).stdout(Stdio::null()), &text)
        .with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}: {}", output.status, said.trim());
    wrote.with_context(|| format!("writing to {program}"))
}

/// Writes a workflow command of GitHub Actions to standard output.
fn annotate(message: &Message) -> Result<()> {
    let command = annotation(message);
    writeln!(std::io::stdout(), "{command}").context("writing standard output")
}

fn annotation(message: &Message) -> String {
    let level = match message.run.verdict.class() {
        Class::Bad => "error",
        Class::Failed | Class::Open => "warning",
        Class::Good if message.state == "flaky" => "warning",
        Class::Good => "notice",
    };
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let title = property(&format!("reprofix: {}", message.stream));
    format!("::{level} title={title}::{}", data(message.text().trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Verdict;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        // Test case 2 of RFC 4231.
        assert_eq!(
            signature(b"Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn an_annotation_is_one_line_whatever_is_in_it() {
        let mut run = Run::start("main", "build");
        run.verdict = Verdict::Different;
        let message = Message {
            schema: Message::SCHEMA,
            stream: "main".into(),
            state: "different".into(),
            before: None,
            run,
            differences: 2,
            paths: vec!["a\n::error::x".into(), "100%".into()],
            packages: vec!["bash".into()],
            url: None,
        };
        let text = annotation(&message);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("::error title=reprofix%3A main::main is different"), "{text}");
        assert!(text.contains("a%0A::error::x") && text.contains("100%25"), "{text}");
    }
}
