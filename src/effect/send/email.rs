//! Mail over SMTP. A password never goes over a line that can be read: only to this machine, or under TLS.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::Message as Mail;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::response::Response;
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Message, smtp};
use crate::base::{Egress, request};
use crate::effect::{failed, text, unknown};
use crate::port::EffectError;

/// A server that says nothing for this long says nothing.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it may take to say goodbye.
const LEAVE: Duration = Duration::from_secs(1);
/// One of several addresses that takes no connection within this time is passed over.
const CONNECT: Duration = Duration::from_secs(3);

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

/// Hands the mail to the server, for each recipient by itself: one that it refuses keeps it from nobody else. Gives what it said,
/// and who did not get it, where somebody did.
pub(super) async fn deliver(
    mail: &Mail,
    server: &str,
    login: Option<(&str, &str)>,
    egress: &Egress,
    within: Duration,
) -> Result<String, EffectError> {
    let late = Instant::now() + within;
    let Some(place) = Server::parse(server) else {
        return Err(failed(format!("`{server}` is no mail server: write smtps://host:port or smtp://host:port")));
    };
    let addresses = request::resolve(&place.host, place.port, egress).await;
    let addresses = addresses.map_err(|error| failed(format!("{} cannot be reached: {error}", place.host)))?;
    let Some(address) = reachable(&addresses).await else {
        return Err(failed(format!("{} has no address", place.host)));
    };
    let tls = tls(&place, address.ip().is_loopback(), login.is_some())?;
    let login = login.map(|(user, password)| Credentials::new(user.to_owned(), password.to_owned()));
    let content = mail.formatted();
    let (mut said, mut errors) = (None, Vec::new());
    for to in mail.envelope().to() {
        let one = Envelope::new(mail.envelope().from().cloned(), vec![to.clone()]);
        let one = one.map_err(|error| failed(format!("the mail cannot be written: {error}")))?;
        // What is connected to is what was checked.
        let handed = hand_over(&place.host, *address, &tls, login.as_ref(), (&one, &content));
        let error = match timeout_at(late, handed).await {
            Ok(Ok(response)) => {
                said = Some(text::line(&response.message().collect::<Vec<_>>().join(" "), 200));
                continue;
            }
            Ok(Err(error)) => error,
            Err(_) => unknown(format!("{server} took longer than {} s", within.as_secs())),
        };
        errors.push((to.to_string(), error));
    }
    outcome(said, errors)
}

async fn hand_over(
    host: &str,
    address: SocketAddr,
    tls: &Tls,
    login: Option<&Credentials>,
    (envelope, content): (&Envelope, &[u8]),
) -> Result<Response, EffectError> {
    let unmet = |why: String| failed(format!("the mail server {host} cannot be reached: {why}"));
    let stream = timeout(SILENCE, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_| unmet(format!("no connection within {} s", SILENCE.as_secs())))?;
    let stream = stream.map_err(|error| unmet(error.to_string()))?;
    let handed = async {
        let mut connection = smtp::greet(stream, tls).await?;
        if let Some(login) = login {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], login).await?;
        }
        let response = connection.send(envelope, content).await?;
        // It has the mail, however it takes leave.
        let _ = timeout(LEAVE, connection.abort()).await;
        Ok(response)
    };
    handed.await.map_err(|error| refused(host, &error))
}

/// It is accepted where somebody gets it. Nobody is known not to, where that is known of none.
fn outcome(said: Option<String>, errors: Vec<(String, EffectError)>) -> Result<String, EffectError> {
    let Some(said) = said else {
        let is_unknown = |error: &EffectError| matches!(error, EffectError::Unknown { .. });
        let at = errors.iter().position(|(_, error)| is_unknown(error)).unwrap_or_default();
        let error = errors.into_iter().nth(at).map(|(_, error)| error);
        return Err(error.unwrap_or_else(|| failed("the mail is for nobody".to_owned())));
    };
    let why = |error: &EffectError| match error {
        EffectError::Failed { error, .. } | EffectError::Unknown { error, .. } => error.clone(),
    };
    let not = errors.iter().map(|(to, error)| format!("; not for {to}: {}", text::line(&why(error), 200)));
    Ok(not.fold(said, |said, not| said + &not))
}

/// The first address that takes a connection; of one alone, and where none does, delivering says what is wrong.
async fn reachable(addresses: &[SocketAddr]) -> Option<&SocketAddr> {
    if addresses.len() > 1 {
        for address in addresses {
            if matches!(timeout(CONNECT, TcpStream::connect(address)).await, Ok(Ok(_))) {
                return Some(address);
            }
        }
    }
    addresses.first()
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
    let said_no = error.is_permanent() || error.is_transient();
    if said_no || error.is_client() || error.is_tls() { failed(why) } else { unknown(why) }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// A server that begins so, and goes on without an end, as long as `tasks` live.
    async fn endless(begins: &'static str, tasks: &mut JoinSet<()>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut said = tokio::io::AsyncWriteExt::write_all(&mut stream, begins.as_bytes()).await;
                for _ in 0..1_000 {
                    if said.is_ok() {
                        said = tokio::io::AsyncWriteExt::write_all(&mut stream, &[b'x'; 64 << 10]).await;
                    }
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn a_server_that_says_too_much_is_heard_no_further() {
        let mut tasks = JoinSet::new();
        for begins in ["220 ", "220 hi\r\n250 "] {
            let server = format!("smtp://127.0.0.1:{}", endless(begins, &mut tasks).await);
            let message = Message { title: "down".to_owned(), body: String::new(), link: None, alert: None };
            let mail = mail(&["ada@acme.example".to_owned()], "ops@acme.example", &message, "k", Timestamp::UNIX_EPOCH);
            let egress = Egress::Open;
            let told = deliver(&mail.expect("a mail"), &server, None, &egress, Duration::from_secs(20)).await;
            let EffectError::Unknown { error, .. } = told.expect_err("no mail server") else { panic!("it failed") };
            assert!(error.contains("more than 256 KiB"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_address_that_takes_no_connection_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (open, shut) = (taken.local_addr().expect("bound"), closed.local_addr().expect("bound"));
        drop(closed);
        assert_eq!(reachable(&[shut, open]).await, Some(&open));
        assert_eq!(reachable(&[shut]).await, Some(&shut), "what is wrong with it is told");
        assert_eq!(reachable(&[]).await, None);
    }
}
