//! The options a test server runs with: quick rather than safe, otherwise as an operator would run it.

use anyhow::Result;

use crate::instance::{Instance, Options, Role};
use crate::server::Flavour;
use crate::tls::certificates;

/// Which certificate servers offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// What MySQL makes for itself at its first start (no SAN in it); on MariaDB 10.11, which makes none, the
    /// same as `Own`.
    #[default]
    ServerDefault,
    /// [`crate::tls::certificates`]: a SAN for `localhost` and the loopback addresses.
    Own,
}

/// The command line of an instance, after what finds its program's files.
pub(crate) fn arguments(options: &Options, instance: &Instance) -> Result<Vec<String>> {
    let path = |name: &str| instance.folder.join(name).display().to_string();
    let mut list = vec![
        format!("--server-id={}", instance.server_id),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--port={}", instance.port),
        format!("--socket={}", instance.socket.display()),
        format!("--pid-file={}", path("server.pid")),
        format!("--log-error={}", path("error.log")),
        format!("--secure-file-priv={}", path("files")),
        "--report-host=127.0.0.1".to_owned(),
        format!("--report-port={}", instance.port),
        format!("--max-connections={}", options.max_connections),
        // as MySQL's default, and as Weir, which does not offer it
        "--local-infile=OFF".to_owned(),
        "--log-bin-trust-function-creators=ON".to_owned(),
        "--max-allowed-packet=64M".to_owned(),
        "--log-bin=binlog".to_owned(),
        "--sync-binlog=0".to_owned(),
        "--innodb-flush-log-at-trx-commit=2".to_owned(),
        "--innodb-buffer-pool-size=128M".to_owned(),
        "--innodb-doublewrite=OFF".to_owned(),
        "--relay-log=relay".to_owned(),
    ];
    let flavoured: &[&str] = match options.flavour {
        Flavour::MySql => &[
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            "--loose-mysqlx=OFF",
            "--loose-innodb-redo-log-capacity=64M",
            // Off as on MariaDB. On, a primary with replicas takes nine seconds to end (seen on 9.7.4).
            "--event-scheduler=OFF",
        ],
        Flavour::MariaDb => {
            // The last: MariaDB replicates a recursive statement as text, and not how deep its session let it go.
            &[
                "--gtid-strict-mode=ON",
                "--log-slave-updates=ON",
                "--innodb-log-file-size=32M",
                "--max-recursive-iterations=1000000",
            ]
        }
    };
    // MySQL takes the option for good, whatever follows it
    if !options.extra_arguments.iter().any(|option| option.starts_with("--skip-name-resolve")) {
        list.push("--skip-name-resolve".to_owned());
    }
    list.extend(flavoured.iter().map(|option| (*option).to_owned()));
    if instance.role == Role::Replica {
        list.push("--read-only=ON".to_owned());
        if options.flavour == Flavour::MySql {
            list.push("--super-read-only=ON".to_owned());
        }
    }
    if options.tls == Tls::Own || options.flavour == Flavour::MariaDb {
        let files = certificates()?;
        list.push(format!("--ssl-ca={}", files.ca.display()));
        list.push(format!("--ssl-cert={}", files.certificate.display()));
        list.push(format!("--ssl-key={}", files.key.display()));
    }
    list.extend(options.extra_arguments.iter().cloned());
    Ok(list)
}
