//! Built-in functions of MySQL 9.7 and MariaDB 10.11, from the two manuals' function references; both servers were
//! asked whether each exists, and whether a stored function of the same name is called instead.

use super::Call;

/// Function names by what a call of them means.
pub(super) const GROUPS: &[(Call, &[&str])] = &[
    (Call::Pure, PURE),
    (Call::PureMySql, MYSQL_ONLY),
    (Call::PureMariaDb, MARIADB_ONLY),
    (Call::PureOld, OLD),
    (Call::Glued, GLUED),
    (Call::GluedMySql, GLUED_MYSQL),
    (Call::GluedMariaDb, GLUED_MARIADB),
    (Call::Window, WINDOW),
    (Call::Differs, DIFFERS),
    (Call::Grammar, GRAMMAR),
];

#[rustfmt::skip]
const PURE: &[&str] = &[
    "abs", "acos", "addtime", "aes_decrypt", "aes_encrypt", "ascii", "asin", "atan", "atan2", "avg",
    "benchmark", "bin", "bit_count", "bit_length", "ceil", "ceiling", "char", "char_length",
    "character_length", "coalesce", "coercibility", "collation", "compress", "concat", "concat_ws", "conv",
    "convert", "convert_tz", "cos", "cot", "crc32", "current_date", "current_time", "current_timestamp",
    "date", "date_format", "datediff", "day", "dayname", "dayofmonth", "dayofweek", "dayofyear", "degrees",
    "elt", "exp", "export_set", "extractvalue", "field", "find_in_set", "floor", "from_base64", "from_days",
    "from_unixtime", "geometrycollection", "get_format", "greatest", "hex", "ifnull", "inet6_aton",
    "inet6_ntoa", "inet_aton", "inet_ntoa", "instr", "is_ipv4", "is_ipv4_compat", "is_ipv4_mapped",
    "is_ipv6", "isnull", "json_array", "json_array_append", "json_array_insert", "json_contains",
    "json_contains_path", "json_depth", "json_extract", "json_insert", "json_keys", "json_length",
    "json_merge", "json_merge_patch", "json_merge_preserve", "json_object", "json_overlaps", "json_pretty",
    "json_quote", "json_remove", "json_replace", "json_search", "json_set", "json_type", "json_unquote",
    "json_valid", "json_value", "last_day", "lcase", "least", "length", "linestring", "ln", "localtime",
    "localtimestamp", "locate", "log", "log10", "log2", "lower", "lpad", "ltrim", "make_set", "makedate",
    "maketime", "match", "mbrcontains", "mbrdisjoint", "mbrequals", "mbrintersects", "mbroverlaps",
    "mbrtouches", "mbrwithin", "microsecond", "minute", "month", "monthname", "multilinestring",
    "multipoint", "multipolygon", "name_const", "nullif", "oct", "octet_length", "ord", "period_add",
    "period_diff", "pi", "point", "polygon", "pow", "power", "quarter", "quote", "radians", "rand",
    "random_bytes", "regexp_instr", "regexp_replace", "regexp_substr", "reverse", "round", "rpad", "rtrim",
    "sec_to_time", "second", "sha2", "sign", "sin", "sleep", "soundex", "space", "sqrt", "st_area",
    "st_asbinary", "st_asgeojson", "st_astext", "st_aswkb", "st_aswkt", "st_buffer", "st_centroid",
    "st_contains", "st_convexhull", "st_crosses", "st_difference", "st_dimension", "st_disjoint",
    "st_distance", "st_distance_sphere", "st_endpoint", "st_envelope", "st_equals", "st_exteriorring",
    "st_geomcollfromtext", "st_geomcollfromwkb", "st_geometrycollectionfromtext",
    "st_geometrycollectionfromwkb", "st_geometryfromtext", "st_geometryfromwkb", "st_geometryn",
    "st_geometrytype", "st_geomfromgeojson", "st_geomfromtext", "st_geomfromwkb", "st_interiorringn",
    "st_intersection", "st_intersects", "st_isclosed", "st_isempty", "st_issimple", "st_length",
    "st_linefromtext", "st_linefromwkb", "st_linestringfromtext", "st_linestringfromwkb",
    "st_mlinefromtext", "st_mlinefromwkb", "st_mpointfromtext", "st_mpointfromwkb", "st_mpolyfromtext",
    "st_mpolyfromwkb", "st_multilinestringfromtext", "st_multilinestringfromwkb", "st_multipointfromtext",
    "st_multipointfromwkb", "st_multipolygonfromtext", "st_multipolygonfromwkb", "st_numgeometries",
    "st_numinteriorrings", "st_numpoints", "st_overlaps", "st_pointfromtext", "st_pointfromwkb",
    "st_pointn", "st_polyfromtext", "st_polyfromwkb", "st_polygonfromtext", "st_polygonfromwkb", "st_srid",
    "st_startpoint", "st_symdifference", "st_touches", "st_union", "st_within", "st_x", "st_y",
    "str_to_date", "strcmp", "substring_index", "subtime", "tan", "time", "time_format", "time_to_sec",
    "timediff", "timestamp", "timestampadd", "timestampdiff", "to_base64", "to_days", "to_seconds", "ucase",
    "uncompress", "uncompressed_length", "unhex", "unix_timestamp", "updatexml", "upper", "utc_date",
    "utc_time", "utc_timestamp", "uuid", "week", "weekday", "weekofyear", "weight_string", "year",
    "yearweek",
];

#[rustfmt::skip]
const MYSQL_ONLY: &[&str] = &[
    "any_value", "bin_to_uuid", "format_bytes", "format_pico_time", "from_vector", "geomcollection",
    "grouping", "is_uuid", "json_schema_valid", "json_schema_validation_report", "json_storage_free",
    "json_storage_size", "mbrcoveredby", "mbrcovers", "regexp_like", "st_buffer_strategy",
    "st_frechetdistance", "st_geohash", "st_geomcollfromtxt", "st_hausdorffdistance", "st_isvalid",
    "st_latfromgeohash", "st_latitude", "st_lineinterpolatepoint", "st_lineinterpolatepoints",
    "st_longfromgeohash", "st_longitude", "st_makeenvelope", "st_numinteriorring", "st_pointatdistance",
    "st_pointfromgeohash", "st_simplify", "st_swapxy", "st_transform", "st_validate", "statement_digest",
    "statement_digest_text", "string_to_vector", "to_vector", "uuid_to_bin", "vector_dim",
    "vector_to_string",
];

#[rustfmt::skip]
const MARIADB_ONLY: &[&str] = &[
    "add_months", "area", "asbinary", "astext", "aswkb", "aswkt", "boundary", "buffer", "centroid", "chr",
    "column_add", "column_check", "column_create", "column_delete", "column_exists", "column_get",
    "column_json", "column_list", "contains", "convexhull", "crc32c", "crosses", "decode", "des_decrypt",
    "dimension", "disjoint", "encode", "encrypt", "endpoint", "envelope", "equals", "exteriorring",
    "geomcollfromtext", "geomcollfromwkb", "geometrycollectionfromtext", "geometrycollectionfromwkb",
    "geometryfromtext", "geometryfromwkb", "geometryn", "geometrytype", "geomfromtext", "geomfromwkb",
    "glength", "interiorringn", "intersects", "isclosed", "isempty", "isring", "issimple", "json_compact",
    "json_detailed", "json_equals", "json_exists", "json_loose", "json_normalize", "json_query", "lengthb",
    "linefromtext", "linefromwkb", "linestringfromtext", "linestringfromwkb", "mbrequal", "mlinefromtext",
    "mlinefromwkb", "mpointfromtext", "mpointfromwkb", "mpolyfromtext", "mpolyfromwkb",
    "multilinestringfromtext", "multilinestringfromwkb", "multipointfromtext", "multipointfromwkb",
    "multipolygonfromtext", "multipolygonfromwkb", "natural_sort_key", "numgeometries", "numinteriorrings",
    "numpoints", "nvl", "nvl2", "old_password", "overlaps", "pointfromtext", "pointfromwkb", "pointn",
    "pointonsurface", "polyfromtext", "polyfromwkb", "polygonfromtext", "polygonfromwkb", "rownum",
    "sformat", "srid", "st_boundary", "st_isring", "st_pointonsurface", "st_relate", "startpoint",
    "sys_guid", "to_char", "touches", "x", "y",
];

#[rustfmt::skip]
const OLD: &[&str] = &[
    "md5", "sha", "sha1",
];

#[rustfmt::skip]
const GLUED: &[&str] = &[
    "adddate", "bit_and", "bit_or", "bit_xor", "cast", "curdate", "curtime", "date_add", "date_sub",
    "extract", "group_concat", "json_arrayagg", "json_objectagg", "max", "mid", "min", "now", "position",
    "std", "stddev", "stddev_pop", "stddev_samp", "subdate", "substr", "substring", "sum", "sysdate",
    "trim", "var_pop", "var_samp", "variance",
];

#[rustfmt::skip]
const GLUED_MYSQL: &[&str] = &[
    "st_collect",
];

#[rustfmt::skip]
const GLUED_MARIADB: &[&str] = &[
    "median", "percentile_cont", "percentile_disc",
];

#[rustfmt::skip]
const WINDOW: &[&str] = &[
    "cume_dist", "dense_rank", "first_value", "lag", "last_value", "lead", "nth_value", "ntile",
    "percent_rank", "rank", "row_number",
];

#[rustfmt::skip]
const DIFFERS: &[&str] = &[
    "binlog_gtid_pos", "decode_histogram", "des_encrypt", "gtid_subset", "gtid_subtract", "icu_version",
    "ps_current_thread_id", "ps_thread_id", "roles_graphml", "session_user", "system_user", "uuid_short",
    "validate_password_strength", "version", "wsrep_last_seen_gtid", "wsrep_last_written_gtid",
    "wsrep_sync_wait_upto_gtid",
];

/// Types and other words that a parenthesis follows without being called.
#[rustfmt::skip]
const GRAMMAR: &[&str] = &[
    "bigint", "bit", "blob", "bool", "boolean", "constraint", "datetime", "dec", "decimal", "double",
    "enum", "fixed", "float", "float4", "float8", "int", "int1", "int2", "int3", "int4", "int8", "integer",
    "longblob", "longtext", "mediumblob", "mediumint", "mediumtext", "national", "nchar", "number",
    "numeric", "nvarchar", "precision", "real", "rows", "signed", "smallint", "text", "tinyblob", "tinyint",
    "tinytext", "unsigned", "varbinary", "varchar", "varying",
];
