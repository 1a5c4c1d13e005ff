//! The bus as its clients see it: one with the same library, and one with
//! libdbus, as most programs have.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use orlop_control::types::{Event, EventKind, Role, UnitState};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::broadcast;
use zbus::connection::Builder;
use zbus::{Connection, Message, proxy};

use crate::api::tests::handle;
use crate::skipped::skipped;

#[proxy(interface = "org.orlop.Manager1", default_path = "/org/orlop/Manager1")]
trait Manager {
    fn list_units(
        &self,
    ) -> zbus::Result<Vec<(String, String, String, String, zbus::OwnedObjectPath)>>;
    fn get_unit(&self, name: &str) -> zbus::Result<zbus::OwnedObjectPath>;
    fn stop_unit(&self, name: &str) -> zbus::Result<String>;
    #[zbus(property)]
    fn version(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn role(&self) -> zbus::Result<String>;
    #[zbus(signal)]
    fn unit_state_changed(&self, name: &str, state: &str, reason: &str) -> zbus::Result<()>;
}

#[proxy(interface = "org.orlop.Unit1")]
trait Unit {
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn reason(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn address(&self) -> zbus::Result<String>;
}

struct Fixture {
    dir: TempDir,
    events: broadcast::Sender<Event>,
}

impl Fixture {
    fn new(role: Role) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (handle, events) = handle(dir.path());
        tokio::spawn(super::serve(handle, &dir.path().join("bus.sock"), 0o600, role).unwrap());
        Self { dir, events }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("bus.sock")
    }

    async fn connect(&self) -> Connection {
        let stream = std::os::unix::net::UnixStream::connect(self.path()).unwrap();
        Builder::unix_stream(stream).p2p().build().await.unwrap()
    }
}

async fn manager(connection: &Connection) -> ManagerProxy<'_> {
    let builder = ManagerProxy::builder(connection).destination("org.orlop.Manager1");
    builder.build().await.unwrap()
}

fn stopped() -> Event {
    let reason = Some("stopped by an operator".to_owned());
    let kind = EventKind::UnitState {
        unit: "web".into(),
        state: UnitState::Stopped,
        reason,
    };
    Event {
        time: Timestamp::UNIX_EPOCH,
        kind,
    }
}

#[tokio::test]
async fn units_properties_and_signals() {
    let fixture = Fixture::new(Role::Operator);
    let connection = fixture.connect().await;
    let manager = manager(&connection).await;
    assert_eq!(manager.version().await.unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(manager.role().await.unwrap(), "operator");
    let units = manager.list_units().await.unwrap();
    assert_eq!(
        (units[0].0.as_str(), units[0].1.as_str()),
        ("web", "running")
    );
    let path = manager.get_unit("web").await.unwrap();
    assert_eq!(path.as_str(), "/org/orlop/unit/web");
    let unit = UnitProxy::builder(&connection)
        .destination("org.orlop.Manager1")
        .path(path)
        .build()
        .await
        .unwrap();
    assert_eq!(unit.state().await.unwrap(), "running");
    assert_eq!(unit.address().await.unwrap(), "10.89.0.2");
    let mut signals = manager.receive_unit_state_changed().await.unwrap();
    assert_eq!(manager.stop_unit("web").await.unwrap(), "stopped");
    fixture.events.send(stopped()).unwrap();
    let signal = signals.next().await.unwrap();
    let args = signal.args().unwrap();
    assert_eq!((args.name, args.state), ("web", "stopped"));
    // The cached properties followed by PropertiesChanged, which came first.
    assert_eq!(unit.state().await.unwrap(), "stopped");
    assert_eq!(unit.reason().await.unwrap(), "stopped by an operator");
    let error = manager.get_unit("wep").await.unwrap_err();
    assert!(
        error.to_string().contains("org.orlop.Error.NotFound"),
        "{error}"
    );
}

#[tokio::test]
async fn a_reader_only_reads() {
    let fixture = Fixture::new(Role::Reader);
    let connection = fixture.connect().await;
    let manager = manager(&connection).await;
    manager.list_units().await.unwrap();
    let error = manager.stop_unit("web").await.unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
}

#[tokio::test]
async fn removed_units_have_no_object() {
    let fixture = Fixture::new(Role::Reader);
    let connection = fixture.connect().await;
    let manager = manager(&connection).await;
    manager.list_units().await.unwrap();
    let path = "/org/orlop/unit/web";
    let unit = UnitProxy::builder(&connection)
        .destination("org.orlop.Manager1")
        .path(path)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .unwrap();
    let kind = EventKind::UnitRemoved { unit: "web".into() };
    fixture
        .events
        .send(Event {
            time: Timestamp::UNIX_EPOCH,
            kind,
        })
        .unwrap();
    for _ in 0..100 {
        if unit.state().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the object stayed");
}

#[tokio::test]
async fn huge_messages_and_nonsense_end_the_connection() {
    let fixture = Fixture::new(Role::Reader);
    let mut huge = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\nl\x01\x00\x01".to_vec();
    huge.extend(100_000_000_u32.to_le_bytes());
    huge.extend(1_u32.to_le_bytes());
    huge.extend(8_u32.to_le_bytes());
    for said in [huge, b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let mut stream = UnixStream::connect(fixture.path()).await.unwrap();
        stream.write_all(&said).await.unwrap();
        let mut rest = Vec::new();
        let ends = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
        let _ = ends.await.expect("the connection does not end");
    }
    let connection = fixture.connect().await;
    manager(&connection).await.version().await.unwrap();
}

/// How much a client can send that never reads, until it is put out.
async fn sent_without_reading(flags: u8) -> usize {
    let fixture = Fixture::new(Role::Reader);
    let mut stream = UnixStream::connect(fixture.path()).await.unwrap();
    let greeting = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
    stream.write_all(greeting).await.unwrap();
    let call = Message::method_call("/org/orlop/Manager1", "GetUnit")
        .interface("org.orlop.Manager1")
        .build(&"x".repeat(60_000))
        .unwrap();
    let mut call = call.data().to_vec();
    call[2] |= flags;
    let mut sent = 0;
    let day = Duration::from_secs(86_400);
    let sending = async {
        while sent < 100_000_000 && stream.write_all(&call).await.is_ok() {
            sent += call.len();
        }
    };
    let ended = tokio::time::timeout(day, sending).await;
    ended.expect("it may stay for ever");
    sent
}

// Nothing here is waited for but the two ends of a socket.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_put_out_before_it_fills_the_memory() {
    for flags in [0, 1] {
        let sent = sent_without_reading(flags).await;
        assert!(sent < 100_000_000, "it goes on after {sent} bytes");
    }
}

/// What a program does that knows only libdbus.
const LIBDBUS: &str = r#"
import sys, dbus, dbus.connection
bus = dbus.connection.Connection("unix:path=" + sys.argv[1])
manager = bus.get_object(None, "/org/orlop/Manager1", introspect=False)
units = manager.ListUnits(dbus_interface="org.orlop.Manager1")
unit = bus.get_object(None, units[0][4], introspect=False)
properties = unit.GetAll("org.orlop.Unit1", dbus_interface="org.freedesktop.DBus.Properties")
role = manager.Get("org.orlop.Manager1", "Role", dbus_interface="org.freedesktop.DBus.Properties")
try:
    manager.StopUnit("web", dbus_interface="org.orlop.Manager1")
    denied = ""
except dbus.DBusException as error:
    denied = error.get_dbus_name()
print(units[0][0], properties["State"], properties["Image"], role, denied)
"#;

async fn libdbus(program: &[&str], path: &Path) -> Option<String> {
    let output = Command::new(program[0])
        .args(&program[1..])
        .args(["/usr/bin/python3", "-c", LIBDBUS])
        .arg(path)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("ModuleNotFoundError") || said.contains("unshare:") {
        skipped(&said);
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn libdbus_gets_along_from_any_user_namespace() {
    if !Path::new("/usr/bin/python3").exists() {
        return skipped("it needs python3");
    }
    let fixture = Fixture::new(Role::Reader);
    let expected = "web running localhost/demo:1 reader org.orlop.Error.AccessDenied\n";
    let elsewhere = ["unshare", "--user", "--map-user=1000", "--map-group=1000"];
    for program in [&["env"][..], &elsewhere[..]] {
        if let Some(said) = libdbus(program, &fixture.path()).await {
            assert_eq!(said, expected, "{program:?}");
        }
    }
}
