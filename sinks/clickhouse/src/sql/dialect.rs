//! ClickHouse's SQL as it is parsed here: the parser's own dialect for it, and what that one lacks.

use sqlparser::dialect::{ClickHouseDialect, Dialect};
use std::any::TypeId;

/// The dialect that is read.
#[derive(Debug)]
pub(super) struct ClickHouse;

/// What its dialect says.
const GIVEN: ClickHouseDialect = ClickHouseDialect {};

macro_rules! given {
    ($($name:ident)*) => { $(fn $name(&self) -> bool { GIVEN.$name() })* };
}

impl Dialect for ClickHouse {
    // Wherever the parser asks for ClickHouse.
    fn dialect(&self) -> TypeId {
        TypeId::of::<ClickHouseDialect>()
    }

    // `count(*) FILTER (WHERE …)`: since version 21.
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    // `SELECT a, b, FROM t`.
    fn supports_projection_trailing_commas(&self) -> bool {
        true
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GIVEN.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GIVEN.is_identifier_part(ch)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        GIVEN.identifier_quote_style(identifier)
    }

    given! {
        supports_string_literal_backslash_escape supports_select_wildcard_except describe_requires_table_keyword
        require_interval_qualifier supports_limit_comma supports_insert_table_function supports_insert_format
        supports_numeric_literal_underscores supports_partition_by_after_order_by supports_array_join_syntax
        supports_dictionary_syntax supports_in_unparenthesized_expr supports_lambda_functions supports_from_first_select
        supports_order_by_all supports_group_by_expr supports_group_by_with_modifier supports_nested_comments
        supports_optimize_table supports_prewhere supports_with_fill supports_limit_by supports_interpolate
        supports_settings supports_select_format supports_select_wildcard_replace supports_comma_separated_trim
    }
}
