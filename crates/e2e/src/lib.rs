//! End-to-end tests: real servers, the real program, clients of every kind. Never shipped.

pub mod balance;
pub mod client;
pub mod drivers;
pub mod fault;
pub mod general_log;
pub mod load;
pub mod observe;
pub mod pair;
pub mod rig;
pub mod weir;

/// Makes a test of each function for each of the two servers, on the cluster that all tests share:
/// `on_both_servers!(fact);` with `fn fact(cluster: &'static Cluster) -> Result<()>`.
#[macro_export]
macro_rules! on_both_servers {
    ($($name:ident),* $(,)?) => {
        mod mysql {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                super::$name(weir_testkit::shared(weir_testkit::Flavour::MySql)?)
            })*
        }
        mod mariadb {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                super::$name(weir_testkit::shared(weir_testkit::Flavour::MariaDb)?)
            })*
        }
    };
}
