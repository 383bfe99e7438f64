//! One row declares a key, its type, its default, its bounds and its meaning.

/// Declares tables of a file.
///
/// ```
/// use std::time::Duration;
/// weir_catalog::stored! {
///     /// Connections.
///     pub struct PoolDraft {
///         /// Most connections to one instance.
///         default capacity: u32 = 32, within (1, 1_000);
///         /// How long to wait for one.
///         default wait: Duration = Duration::from_secs(5);
///         /// Where they lead.
///         required address: String;
///         /// Other places.
///         list others: String;
///     }
/// }
/// ```
///
/// Where the shortest table that is allowed says too little, `pub struct AccountDraft like "{ … }" {` gives an example.
///
/// | Row | Field | Not in the file |
/// |---|---|---|
/// | `required key: T;` | `Option<At<T>>` | a problem |
/// | `optional key: T;` | `Option<At<T>>` | nothing |
/// | `default key: T = value;` | `At<T>` | the value |
/// | `section key: T;` | `At<T>`, a table | a table without keys |
/// | `list key: T;` | `At<Vec<At<T>>>` | an empty list |
/// | `several key: T;` | `At<Vec<At<T>>>` | a problem, as is an empty list |
/// | `several_or key: T = "word";` | `At<ItemsOr<At<T>>>` | a problem, as is an empty list; the word may stand there instead |
#[macro_export]
macro_rules! stored {
    ($(
        $(#[doc = $about:literal])+
        pub struct $name:ident $(like $example:literal)? {
            $(
                $(#[doc = $doc:literal])+
                $how:ident $key:ident : $type:ty $(= $default:expr)? $(, within ($low:expr, $high:expr))? ;
            )+
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $key: $crate::stored_field!($how $type), )+
        }

        impl $crate::document::Declared for $name {
            fn table_shape() -> $crate::document::TableShape {
                $crate::document::TableShape {
                    about: &[$($about),+],
                    example: [$($example)?].first().copied(),
                    rows: vec![$( $crate::document::Row {
                        key: stringify!($key),
                        doc: &[$($doc),+],
                        need: $crate::stored_need!($how $type $(= $default)?),
                        shape: <$type as $crate::document::Stored>::shape(),
                        within: $crate::stored_within!($type $(, $low, $high)?)
                            .map($crate::document::Within::into_shown),
                    } ),+],
                }
            }

            fn from_rows(rows: &$crate::document::Rows<'_>, report: &mut $crate::document::Report) -> Self {
                Self {
                    $( $key: $crate::stored_read!(
                        rows, report, $how, stringify!($key), $type,
                        ($($default)?), $crate::stored_within!($type $(, $low, $high)?)
                    ), )+
                }
            }
        }

        impl $crate::document::Stored for $name {
            fn shape() -> $crate::document::Shape {
                $crate::document::Shape::Table(<Self as $crate::document::Declared>::table_shape())
            }

            fn read(node: &$crate::document::Node<'_>, report: &mut $crate::document::Report) -> Option<Self> {
                let rows = node.rows(&<Self as $crate::document::Declared>::table_shape(), report)?;
                Some(<Self as $crate::document::Declared>::from_rows(&rows, report))
            }
        }
    )+};
}

/// The type of a row's field.
#[doc(hidden)]
#[macro_export]
macro_rules! stored_field {
    (required $type:ty) => { Option<$crate::document::At<$type>> };
    (optional $type:ty) => { Option<$crate::document::At<$type>> };
    (default $type:ty) => { $crate::document::At<$type> };
    (section $type:ty) => { $crate::document::At<$type> };
    (list $type:ty) => { $crate::document::At<Vec<$crate::document::At<$type>>> };
    (several $type:ty) => { $crate::document::At<Vec<$crate::document::At<$type>>> };
    (several_or $type:ty) => { $crate::document::At<$crate::document::ItemsOr<$crate::document::At<$type>>> };
}

/// Must the row be there?
#[doc(hidden)]
#[macro_export]
macro_rules! stored_need {
    (required $type:ty) => {
        $crate::document::Need::Required
    };
    (optional $type:ty) => {
        $crate::document::Need::Optional
    };
    (default $type:ty = $default:expr) => {
        $crate::document::Need::Default(<$type as $crate::document::Scalar>::to_toml(&$default))
    };
    (section $type:ty) => {
        $crate::document::Need::Section
    };
    (list $type:ty) => {
        $crate::document::Need::List
    };
    (several $type:ty) => {
        $crate::document::Need::Several
    };
    (several_or $type:ty = $word:expr) => {
        $crate::document::Need::SeveralOr($word)
    };
}

/// The row's bounds.
#[doc(hidden)]
#[macro_export]
macro_rules! stored_within {
    ($type:ty) => {
        None::<$crate::document::Within<$type>>
    };
    ($type:ty, $low:expr, $high:expr) => {
        Some($crate::document::Within::<$type>::new($low, $high))
    };
}

/// Reads the row.
#[doc(hidden)]
#[macro_export]
macro_rules! stored_read {
    ($rows:ident, $report:ident, required, $key:expr, $type:ty, (), $within:expr) => {
        $rows.required::<$type>($key, $within, $report)
    };
    ($rows:ident, $report:ident, optional, $key:expr, $type:ty, (), $within:expr) => {
        $rows.optional::<$type>($key, $within, $report)
    };
    ($rows:ident, $report:ident, default, $key:expr, $type:ty, ($default:expr), $within:expr) => {
        $rows.default::<$type>($key, $default, $within, $report)
    };
    ($rows:ident, $report:ident, section, $key:expr, $type:ty, (), $within:expr) => {
        $rows.section::<$type>($key, $report)
    };
    ($rows:ident, $report:ident, list, $key:expr, $type:ty, (), $within:expr) => {
        $rows.list::<$type>($key, $report)
    };
    ($rows:ident, $report:ident, several, $key:expr, $type:ty, (), $within:expr) => {
        $rows.several::<$type>($key, $report)
    };
    ($rows:ident, $report:ident, several_or, $key:expr, $type:ty, ($word:expr), $within:expr) => {
        $rows.several_or::<$type>($key, $word, $report)
    };
}

/// Declares an enum whose variants are words of a file: word and meaning in one place.
///
/// ```
/// weir_catalog::choice! {
///     /// How much is demanded.
///     #[derive(Clone, Copy, Debug, PartialEq, Eq)]
///     pub enum Mode {
///         /// Nothing.
///         Off = "off",
///         /// Everything.
///         Required = "required",
///     }
/// }
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        #[derive($($derive:ident),+)]
        pub enum $name:ident {
            $( $(#[doc = $doc:literal])+ $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive($($derive),+)]
        pub enum $name {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl $name {
            /// As files write it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::document::Scalar for $name {
            const KIND: &'static str = concat!("one of", $( " \"", $text, "\"" ),+);
            const EXAMPLE: &'static str = $crate::first_choice!($($text),+);

            fn from_toml(value: &$crate::document::DeValue<'_>) -> Result<Self, $crate::document::Wrong> {
                let index = $crate::document::one_of(value, Self::choices())?;
                [$(Self::$variant),+].get(index).copied().ok_or($crate::document::Wrong::Type)
            }

            fn to_toml(&self) -> String {
                $crate::document::quoted(self)
            }

            fn choices() -> &'static [$crate::document::Choice] {
                &[$( $crate::document::Choice { text: $text, doc: &[$($doc),+] } ),+]
            }
        }
    };
}

/// The example of a choice.
#[doc(hidden)]
#[macro_export]
macro_rules! first_choice {
    ($first:literal $(, $rest:literal)*) => {
        concat!("\"", $first, "\"")
    };
}
