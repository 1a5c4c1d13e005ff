//! Trials on hosts whose boot partition cannot be read.

use orlop_handover::{BootReport, Slot, StateHealth};
use orlop_slot::gate::Limits;
use orlop_slot::trial::{Outcome, Running};
use tokio::sync::mpsc::Receiver;

use super::super::{Seen, Trial};
use super::*;
use crate::handle::{Handle, Request};
use crate::installs::{Esp, Records};

const NEVER: u64 = u64::MAX;

/// A host whose entry was started as `entry` and counted as `counted`.
pub(in crate::trial) struct Host {
    pub(in crate::trial) dir: tempfile::TempDir,
    pub(in crate::trial) case: Case,
    requests: Receiver<Request>,
}

pub(in crate::trial) fn host(
    entry: &str,
    counted: &str,
    outcome: Outcome,
    deadline_ms: u64,
) -> Host {
    let dir = tempfile::tempdir().unwrap();
    let (handle, requests) = Handle::new(dir.path().to_owned());
    let records = Records::new(dir.path().join("update"));
    let record = Record {
        serial: 2,
        version: "2.0.0".to_owned(),
        root: "bb".to_owned(),
        outcome,
    };
    records.put_trial(&record).unwrap();
    let boot = BootReport {
        version: "2.0.0".to_owned(),
        slot: Slot::B,
        serial: 2,
        entry: entry.to_owned(),
        counted: counted.to_owned(),
        esp: "/dev/vda1".to_owned(),
        other: None,
        root_hash: "bb".to_owned(),
        state: StateHealth::Ok,
        state_detail: String::new(),
        watchdog: "none".to_owned(),
        boot_id: "this".to_owned(),
        pid1_start_ms: 0,
        manager_exec_ms: 0,
        phases: Vec::new(),
    };
    let case = Case {
        handle,
        shown: Trial::default(),
        // It is not there.
        esp: Esp::mounted(&dir.path().join("esp")),
        records,
        boot,
        running: Running {
            entry: Some(entry.to_owned()),
            version: "2.0.0".to_owned(),
            root: "bb".to_owned(),
        },
        limits: Limits {
            settle_ms: 0,
            deadline_ms,
        },
    };
    Host {
        dir,
        case,
        requests,
    }
}

impl Host {
    /// Answers everything until a reboot is asked for.
    async fn reboots(requests: &mut Receiver<Request>) {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Shutdown(ShutdownMode::Reboot, reply) => return drop(reply.send(Ok(()))),
                Request::Watched(reply) => drop(reply.send(Ok(Vec::new()))),
                // There are none.
                Request::Logs(_, reply) => drop(reply),
                other => panic!("{other:?}"),
            }
        }
        panic!("nobody asked for a reboot");
    }

    /// What ends first: how it was seen through with a reboot, or a long time.
    pub(in crate::trial) async fn ends(&mut self) -> Option<Seen> {
        let both = async {
            let (seen, ()) =
                tokio::join!(self.case.see_through(), Host::reboots(&mut self.requests));
            seen
        };
        let day = Duration::from_secs(24 * 60 * 60);
        tokio::time::timeout(day, both).await.ok()
    }

    /// How it is seen through without a reboot, and what is told then.
    pub(in crate::trial) async fn stays(&mut self) -> (Seen, Vec<String>) {
        let reboots = Host::reboots(&mut self.requests);
        let seen = tokio::select! {
            seen = self.case.see_through() => seen,
            () = reboots => panic!("it reboots"),
        };
        (seen, self.problems())
    }

    fn problems(&self) -> Vec<String> {
        let mut status = orlop_control::types::HostStatus::default();
        self.case.shown.tell(&mut status);
        status.warnings
    }
}

/// Before the gate, where the record says that it failed, and after a gate that failed.
#[tokio::test(start_paused = true)]
async fn at_its_deadline_a_trial_ends_with_a_restart() {
    for outcome in [Outcome::Trying, Outcome::Failed] {
        let mut host = host("orlop_2_2.0.0+3.efi", "orlop_2_2.0.0+2-1.efi", outcome, 0);
        assert!(matches!(host.ends().await, Some(Seen::Leaving)));
        let failed = host.case.records.failed().unwrap().unwrap();
        assert_eq!((failed.serial, failed.version.as_str()), (2, "2.0.0"));
        for words in [
            "/dev/vda1 cannot be read: No such file",
            "could not be decided by its deadline",
            "with 2 tries left",
        ] {
            assert!(failed.reason.contains(words), "{}", failed.reason);
        }
        let record = host.case.records.trial().unwrap().unwrap();
        assert_eq!(record.outcome, outcome, "it was not decided");
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_restart_would_lead_nowhere_the_host_stays_and_says_so() {
    for (entry, counted, words) in [
        (
            "orlop_2_2.0.0+0-3.efi",
            "orlop_2_2.0.0+0-4.efi",
            "tries are used up",
        ),
        ("orlop_2_2.0.0+3.efi", "", "did not count this start"),
        ("orlop_2_2.0.0.efi", "", "has no counter"),
    ] {
        let mut host = host(entry, counted, Outcome::Trying, 0);
        assert!(host.ends().await.is_none(), "{entry}");
        let problems = host.problems();
        assert!(
            problems.iter().any(|told| told.contains(words)),
            "{problems:?}"
        );
        assert_eq!(host.case.records.failed(), Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_on_trial_stays_and_says_why_nothing_can_be_installed() {
    for deadline_ms in [0, NEVER] {
        let entry = "orlop_2_2.0.0+2-1.efi";
        let counted = "orlop_2_2.0.0+1-2.efi";
        let mut host = host(entry, counted, Outcome::Blessed, deadline_ms);
        assert!(host.ends().await.is_none());
        let told = host.case.shown.unread().unwrap();
        for words in [
            "/dev/vda1 cannot be read",
            "is not on trial",
            "nothing can be installed",
        ] {
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(host.problems(), [told]);
    }
}

/// It can be read after a while: all goes on as if it always could.
#[tokio::test(start_paused = true)]
async fn what_can_be_read_in_time_is_decided() {
    let mut host = host("orlop_2_2.0.0.efi", "", Outcome::Blessed, NEVER);
    let entries = host.dir.path().join("esp/EFI/Linux");
    let appears = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        std::fs::create_dir_all(&entries).unwrap();
        std::future::pending::<()>().await;
    };
    let seen = tokio::select! {
        seen = host.case.see_through() => seen,
        () = appears => unreachable!(),
        request = host.requests.recv() => panic!("{request:?}"),
    };
    assert!(matches!(seen, Seen::Decided(None)));
    assert_eq!(host.case.shown.unread(), None);
    assert_eq!(host.problems(), Vec::<String>::new());
}

#[test]
fn every_end_has_its_own_words() {
    let all = [
        Unread::NoTrial,
        Unread::Wait,
        Unread::Restart { serial: 2, left: 1 },
        Unread::Stay {
            why: Endless::NoCounter,
        },
        Unread::Stay {
            why: Endless::NoTries,
        },
        Unread::Stay {
            why: Endless::NotCounted,
        },
    ];
    let told: std::collections::BTreeSet<String> = all
        .iter()
        .map(|next| told("it is gone", "2.0.0", *next))
        .collect();
    assert_eq!(told.len(), all.len());
    for told in told {
        assert!(
            told.starts_with("it is gone; ") && told.contains("version 2.0.0"),
            "{told}"
        );
    }
}
