#[test]
fn pymysql_sees_mysql_alike() -> Result<()> {
    check("pymysql", Flavour::MySql)
}

#[test]
fn pymysql_sees_mariadb_alike() -> Result<()> {
    check("pymysql", Flavour::MariaDb)
}

#[test]
fn mysql_connector_python_sees_mysql_alike() -> Result<()> {
    check("mysql_connector_python", Flavour::MySql)
}

#[test]
fn mysql_connector_python_sees_mariadb_alike() -> Result<()> {
    check("mysql_connector_python", Flavour::MariaDb)
}

#[test]
fn mysql2_sees_mysql_alike() -> Result<()> {
    check("mysql2", Flavour::MySql)
}

#[test]
fn mysql2_sees_mariadb_alike() -> Result<()> {
    check("mysql2", Flavour::MariaDb)
}

#[test]
fn go_sql_driver_sees_mysql_alike() -> Result<()> {
    check("go_sql_driver", Flavour::MySql)
}

#[test]
fn go_sql_driver_sees_mariadb_alike() -> Result<()> {
    check("go_sql_driver", Flavour::MariaDb)
}

#[test]
fn mariadb_connector_j_sees_mysql_alike() -> Result<()> {
    check("mariadb_connector_j", Flavour::MySql)
}

#[test]
fn mariadb_connector_j_sees_mariadb_alike() -> Result<()> {
    check("mariadb_connector_j", Flavour::MariaDb)
}

#[test]
fn sqlx_sees_mysql_alike() -> Result<()> {
    check("sqlx", Flavour::MySql)
}

#[test]
fn sqlx_sees_mariadb_alike() -> Result<()> {
    check("sqlx", Flavour::MariaDb)
}

#[test]
fn mariadb_client_sees_mysql_alike() -> Result<()> {
    check_command_line(CommandLine::MariaDb, Flavour::MySql)
}
