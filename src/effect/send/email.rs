//! Mail over SMTP. A password never goes over a line that can be read: only to this machine, or under TLS.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message as Mail, Tokio1Executor};
use reqwest::Url;

use super::Message;
use crate::base::{Egress, request};
use crate::effect::{failed, text, unknown};
use crate::port::EffectError;

/// A server that says nothing for this long says nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// The mail.
pub(super) fn mail(
    to: &[String],
    from: &str,
    message: &Message,
    key: &str,
    now: Timestamp,
) -> Result<Mail, EffectError> {
    let mailbox = |text: &str| {
        text.parse::<Mailbox>().map_err(|error| failed(format!("`{text}` is not an address for mail: {error}")))
    };
    let id: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '.' }).collect();
    let mut mail = Mail::builder()
        .from(mailbox(from)?)
        .subject(text::line(&message.title, 200))
        .date(SystemTime::from(now))
        .message_id(Some(format!("<{id}@codeops.invalid>")));
    for address in to {
        mail = mail.to(mailbox(address)?);
    }
    let link = message.link.as_ref().map(|link| format!("\n\n{link}\n")).unwrap_or_default();
    let body = SinglePart::builder()
        .header(ContentType::TEXT_PLAIN)
        .header(ContentTransferEncoding::Base64)
        .body(format!("{}\n\n{}{link}", message.title, message.body));
    mail.singlepart(body).map_err(|error| failed(format!("the mail cannot be written: {error}")))
}

/// Where a server is and how it is spoken to.
struct Server {
    host: String,
    port: u16,
    /// TLS from the first byte.
    wrapped: bool,
}

impl Server {
    fn parse(text: &str) -> Option<Self> {
        let url: Url = text.parse().ok()?;
        let wrapped = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => return None,
        };
        let host = url.host_str().filter(|host| !host.is_empty())?.to_owned();
        Some(Self { host, port: url.port().unwrap_or(if wrapped { 465 } else { 587 }), wrapped })
    }
}

/// Hands the mail to the server and gives what it said.
pub(super) async fn deliver(
    mail: &Mail,
    server: &str,
    login: Option<(&str, &str)>,
    egress: &Egress,
) -> Result<String, EffectError> {
    let Some(place) = Server::parse(server) else {
        return Err(failed(format!("`{server}` is no mail server: write smtps://host:port or smtp://host:port")));
    };
    let addresses = request::resolve(&place.host, place.port, egress).await;
    let addresses = addresses.map_err(|error| failed(format!("{} cannot be reached: {error}", place.host)))?;
    let Some(address) = addresses.first() else { return Err(failed(format!("{} has no address", place.host))) };
    let tls = tls(&place, address.ip().is_loopback(), login.is_some())?;
    // What is connected to is what was checked.
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(place.port)
        .tls(tls)
        .hello_name(ClientId::Domain("codeops.invalid".to_owned()))
        .timeout(Some(SILENCE));
    if let Some((user, password)) = login {
        builder = builder.credentials(Credentials::new(user.to_owned(), password.to_owned()));
    }
    match builder.build().send(mail.clone()).await {
        Ok(response) => Ok(text::line(&response.message().collect::<Vec<_>>().join(" "), 200)),
        Err(error) => Err(refused(&place.host, &error)),
    }
}

fn tls(place: &Server, loopback: bool, login: bool) -> Result<Tls, EffectError> {
    let parameters = || {
        TlsParameters::new(place.host.clone())
            .map_err(|error| failed(format!("TLS to {} cannot be set up: {error}", place.host)))
    };
    Ok(match (place.wrapped, loopback, login) {
        (true, _, _) => Tls::Wrapper(parameters()?),
        (false, true, _) => Tls::None,
        (false, false, true) => Tls::Required(parameters()?),
        (false, false, false) => Tls::Opportunistic(parameters()?),
    })
}

/// A server that said no has not taken it; one that fell silent may have.
fn refused(host: &str, error: &lettre::transport::smtp::Error) -> EffectError {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let why = format!("the mail server {host} did not accept the message: {error}{cause}");
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let never_met = io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
    let said_no = error.is_permanent() || error.is_transient();
    if said_no || error.is_client() || error.is_tls() || never_met { failed(why) } else { unknown(why) }
}
