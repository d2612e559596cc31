//! What a task is given: values that are known now, and handles of values that the run will have.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use camshaft_engine::expression::literal;
use serde::Serialize;
use serde_json::{Map, Value};

/// Which builder a handle comes from: a handle means nothing in another workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner(u64);

impl Owner {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What of a run something uses.
#[derive(Debug, Clone, Default)]
pub(super) struct Uses {
    pub(super) owners: BTreeSet<Owner>,
    /// The tasks whose results it wants.
    pub(super) completed: BTreeSet<String>,
    /// The tasks of which it only wants that they have ended.
    pub(super) ended: BTreeSet<String>,
}

impl Uses {
    pub(super) fn add(&mut self, other: Self) {
        self.owners.extend(other.owners);
        self.completed.extend(other.completed);
        self.ended.extend(other.ended);
    }
}

/// A value of type `T` that a run will have: a parameter, the result of a task, or a part of one.
///
/// A task that is given one starts once the value is there. See [`field!`](crate::field) for the field
/// of a struct.
pub struct Handle<T> {
    uses: Uses,
    expression: String,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        self.with(self.expression.clone())
    }
}

impl<T> Handle<T> {
    /// A value that is there from the start of what it is used in.
    pub(super) fn new(owner: Owner, expression: String) -> Self {
        let owners = BTreeSet::from([owner]);
        Self::using(
            Uses {
                owners,
                ..Uses::default()
            },
            expression,
        )
    }

    pub(super) const fn using(uses: Uses, expression: String) -> Self {
        let of = PhantomData;
        Self {
            uses,
            expression,
            of,
        }
    }

    fn with<U>(&self, expression: String) -> Handle<U> {
        Handle::using(self.uses.clone(), expression)
    }

    pub(super) fn expression(&self) -> &str {
        &self.expression
    }

    pub(super) const fn uses(&self) -> &Uses {
        &self.uses
    }

    fn below<U>(&self, name: &str) -> Handle<U> {
        let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let expression = if is_plain {
            format!("{}.{name}", self.expression)
        } else {
            format!("{}[{}]", self.expression, literal::expression(&name.into()))
        };
        self.with(expression)
    }

    /// The value under a key, as a type that nothing checks: for results that are any JSON.
    pub fn get<U>(&self, key: &str) -> Handle<U> {
        self.below(key)
    }

    /// What [`field!`](crate::field) expands to. The closure is there for its type and is never called.
    #[doc(hidden)]
    pub fn project<U>(&self, path: &[&str], _: fn(&T) -> &U) -> Handle<U> {
        let whole = self.with(self.expression.clone());
        path.iter().fold(whole, |handle, name| {
            handle.below(name.trim_start_matches("r#"))
        })
    }

    /// The same value for somebody who takes an option.
    pub fn some(&self) -> Handle<Option<T>> {
        self.with(self.expression.clone())
    }
}

impl<T> Handle<Option<T>> {
    /// The value for somebody who cannot do without it: where there is none, the task that is given it
    /// fails.
    pub fn present(&self) -> Handle<T> {
        self.with(self.expression.clone())
    }
}

impl<T> Handle<Vec<T>> {
    /// One element, from 0. If there are not so many, the task that is given it fails.
    pub fn at(&self, index: usize) -> Handle<T> {
        self.with(format!("{}[{index}]", self.expression))
    }

    /// How many elements there are.
    pub fn count(&self) -> Handle<usize> {
        self.with(format!("({} | length)", self.expression))
    }
}

/// A value as it will stand in a definition.
///
/// Texts of the program are literal: whatever is in them, nothing of it is rendered.
#[derive(Debug, Clone)]
pub struct Given {
    node: Node,
    uses: Uses,
    problems: Vec<String>,
}

#[derive(Debug, Clone)]
enum Node {
    Literal(Value),
    Expression(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    Text(Vec<Node>),
}

impl Given {
    fn literal(value: &impl Serialize) -> Self {
        let (value, problems) = match serde_json::to_value(value) {
            Ok(value) => (value, Vec::new()),
            Err(error) => (
                Value::Null,
                vec![format!("a value cannot be written as JSON: {error}")],
            ),
        };
        Self {
            node: Node::Literal(value),
            uses: Uses::default(),
            problems,
        }
    }

    fn expression<T>(handle: &Handle<T>) -> Self {
        Self {
            node: Node::Expression(handle.expression.clone()),
            uses: handle.uses.clone(),
            problems: Vec::new(),
        }
    }

    fn gathered(parts: Vec<Self>, node: impl FnOnce(Vec<Node>) -> Node) -> Self {
        let mut uses = Uses::default();
        let mut problems = Vec::new();
        let mut nodes = Vec::new();
        for part in parts {
            uses.add(part.uses);
            problems.extend(part.problems);
            nodes.push(part.node);
        }
        Self {
            node: node(nodes),
            uses,
            problems,
        }
    }

    pub(super) fn list(parts: Vec<Self>) -> Self {
        Self::gathered(parts, Node::List)
    }

    fn map(parts: Vec<(String, Self)>) -> Self {
        let (names, parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        Self::gathered(parts, |nodes| {
            Node::Map(names.into_iter().zip(nodes).collect())
        })
    }

    /// What of the run is in it.
    pub(super) const fn uses(&self) -> &Uses {
        &self.uses
    }

    /// What is wrong with it already.
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// As a template.
    pub(super) fn template(&self) -> Value {
        self.node.template()
    }

    /// As an operand in an expression.
    pub(super) fn operand(&self) -> String {
        self.node.operand()
    }
}

impl Node {
    fn template(&self) -> Value {
        match self {
            Self::Literal(value) => literal::template(value),
            Self::Expression(expression) => format!("{{{{ {expression} }}}}").into(),
            Self::List(items) => items.iter().map(Self::template).collect(),
            Self::Map(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(name, node)| (name.clone(), node.template()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            Self::Text(parts) => {
                let one_value = matches!(parts.as_slice(), [Self::Expression(_)]);
                // With something beside it, a value is rendered as text.
                let first = if one_value { "{{ '' }}" } else { "" };
                let parts = parts.iter().map(Self::piece);
                Value::String(std::iter::once(first.to_owned()).chain(parts).collect())
            }
        }
    }

    /// As a part of a text.
    fn piece(&self) -> String {
        match self {
            Self::Literal(Value::String(text)) if !text.contains(['{', '}', '%', '#']) => {
                text.clone()
            }
            other => format!("{{{{ {} }}}}", other.operand()),
        }
    }

    fn operand(&self) -> String {
        match self {
            Self::Literal(value) => literal::expression(value),
            Self::Expression(expression) => format!("({expression})"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::operand).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(entries) => {
                let entry = |(name, node): &(String, Self)| {
                    let name = literal::expression(&name.as_str().into());
                    format!("{name}: {}", node.operand())
                };
                let entries: Vec<String> = entries.iter().map(entry).collect();
                format!("{{{}}}", entries.join(", "))
            }
            Self::Text(parts) => {
                let parts: Vec<String> = parts.iter().map(Self::operand).collect();
                format!("('' ~ {})", parts.join(" ~ "))
            }
        }
    }
}

/// What may stand where a `T` is wanted: a value, or the handle of one.
///
/// It is there for values that serialize, for [`Handle`], for the [`Task`](super::Task) whose result it
/// is, for [`inputs!`](crate::inputs), for `&str` and [`text!`](crate::text) where a `String` is wanted,
/// and for arrays of these where a list is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand where a `{T}` is wanted",
    note = "give a value of that type, a handle of one, or `inputs!`"
)]
pub trait Input<T> {
    /// It, as it will stand in the definition.
    fn given(self) -> Given;
}

impl<T: Serialize> Input<T> for T {
    fn given(self) -> Given {
        Given::literal(&self)
    }
}

impl<T> Input<T> for Handle<T> {
    fn given(self) -> Given {
        Given::expression(&self)
    }
}

impl<T> Input<T> for &Handle<T> {
    fn given(self) -> Given {
        Given::expression(self)
    }
}

impl Input<String> for &str {
    fn given(self) -> Given {
        Given::literal(&self)
    }
}

impl<T, I: Input<T>, const N: usize> Input<Vec<T>> for [I; N] {
    fn given(self) -> Given {
        Given::list(self.into_iter().map(Input::given).collect())
    }
}

impl<T> Input<Vec<T>> for Vec<Handle<T>> {
    fn given(self) -> Given {
        Given::list(self.into_iter().map(Input::given).collect())
    }
}

impl<P> Input<P> for Inputs<P> {
    fn given(self) -> Given {
        self.0
    }
}

impl Input<String> for Text {
    fn given(self) -> Given {
        self.0
    }
}

/// What may stand where any JSON is wanted: simple values, JSON, handles of anything, and what is made
/// of these.
pub trait AnyInput {
    /// It, as it will stand in the definition.
    fn given(self) -> Given;
}

macro_rules! any_input {
    ($($kind:ty),*) => {
        $(impl AnyInput for $kind {
            fn given(self) -> Given {
                Given::literal(&self)
            }
        })*
    };
}

any_input!(
    bool,
    u8,
    u16,
    u32,
    u64,
    usize,
    i8,
    i16,
    i32,
    i64,
    isize,
    f32,
    f64,
    &str,
    String,
    &String,
    Value,
    &Value,
    ()
);

impl<T> AnyInput for Handle<T> {
    fn given(self) -> Given {
        Given::expression(&self)
    }
}

impl<T> AnyInput for &Handle<T> {
    fn given(self) -> Given {
        Given::expression(self)
    }
}

impl<P> AnyInput for Inputs<P> {
    fn given(self) -> Given {
        self.0
    }
}

impl AnyInput for Text {
    fn given(self) -> Given {
        self.0
    }
}

impl<I: AnyInput, const N: usize> AnyInput for [I; N] {
    fn given(self) -> Given {
        Given::list(self.into_iter().map(AnyInput::given).collect())
    }
}

impl<I: AnyInput> AnyInput for Vec<I> {
    fn given(self) -> Given {
        Given::list(self.into_iter().map(AnyInput::given).collect())
    }
}

/// The fields of a `P`, each a value or a handle; [`inputs!`](crate::inputs) makes it.
#[derive(Debug, Clone)]
pub struct Inputs<P>(Given, PhantomData<fn() -> P>);

impl<P> Inputs<P> {
    /// What [`inputs!`](crate::inputs) expands to.
    #[doc(hidden)]
    pub fn new<const N: usize>(fields: [(&str, Given); N]) -> Self {
        let fields = fields.into_iter();
        let fields = fields.map(|(name, given)| (name.trim_start_matches("r#").to_owned(), given));
        Self(Given::map(fields.collect()), PhantomData)
    }

    /// The same, with the types of the fields checked by a closure that is never called.
    #[doc(hidden)]
    pub fn checked<const N: usize>(
        _: impl FnOnce(std::convert::Infallible) -> P,
        fields: [(&str, Given); N],
    ) -> Self {
        Self::new(fields)
    }
}

/// A field of [`inputs!`](crate::inputs) while its type is being found.
#[doc(hidden)]
pub struct Slot<T>(Given, PhantomData<fn() -> T>);

impl<T> Slot<T> {
    #[doc(hidden)]
    pub fn new(input: impl Input<T>) -> Self {
        Self(input.given(), PhantomData)
    }

    #[doc(hidden)]
    pub fn hole(&self, never: std::convert::Infallible) -> T {
        match never {}
    }

    #[doc(hidden)]
    pub fn clone_given(&self) -> Given {
        self.0.clone()
    }
}

/// A text with values of the run in it; [`text!`](crate::text) makes it.
#[derive(Debug, Clone)]
pub struct Text(Given);

impl Text {
    /// What [`text!`](crate::text) expands to.
    #[doc(hidden)]
    pub fn new(parts: Vec<Given>) -> Self {
        Self(Given::gathered(parts, Node::Text))
    }
}

/// The fields of a task's parameters, each a value or a handle of one.
///
/// With the name of a struct, every field must be there and have its type, which the compiler sees to;
/// a value may be a handle of that type. The fields are those of the JSON form, so a struct with
/// `#[serde(rename)]` is given by the second form. With names in quotes, the values are any JSON and any
/// handles, and nothing is checked before the run.
///
/// ```
/// use camshaft::embed::{Handle, Inputs};
/// use camshaft::inputs;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Charge { card: String, amount: u64, notes: Vec<String> }
///
/// fn charge(card: &Handle<String>) -> Inputs<Charge> {
///     inputs!(Charge { card: card, amount: 100, notes: ["by post", "{{ not a template }}"] })
/// }
///
/// fn request(url: &Handle<String>) -> Inputs<serde_json::Value> {
///     inputs!({ "url": url, "method": "POST", "body": inputs!({ "from": url, "count": 3 }) })
/// }
/// ```
///
/// A field that is not there, and a handle of another type, do not compile:
///
/// ```compile_fail
/// # use camshaft::{embed::Handle, inputs};
/// # #[derive(serde::Serialize)] struct Charge { card: String, amount: u64 }
/// # fn charge(card: &Handle<String>) {
/// inputs!(Charge { card: card, amount: card });
/// # }
/// ```
///
/// ```compile_fail
/// # use camshaft::{embed::Handle, inputs};
/// # #[derive(serde::Serialize)] struct Charge { card: String, amount: u64 }
/// # fn charge(card: &Handle<String>) {
/// inputs!(Charge { card: card });
/// # }
/// ```
#[macro_export]
macro_rules! inputs {
    ($first:ident $(:: $rest:ident)* { $($field:ident : $value:expr),* $(,)? }) => {
        match ($($crate::embed::Slot::new($value),)*) {
            ($($field,)*) => $crate::embed::Inputs::checked(
                |_never: ::std::convert::Infallible| $first $(:: $rest)* { $($field: $field.hole(_never)),* },
                [$((stringify!($field), $field.clone_given())),*],
            ),
        }
    };
    ({ $($name:literal : $value:expr),* $(,)? }) => {
        $crate::embed::Inputs::<$crate::embed::Json>::new(
            [$(($name, $crate::embed::AnyInput::given($value))),*],
        )
    };
}

/// The handle of a field, or of a field of a field, of a struct that a handle stands for.
///
/// The compiler sees to it that there is such a field and what its type is. The name is that of the JSON
/// form too: for a field with `#[serde(rename)]` use [`Handle::get`](crate::embed::Handle::get).
///
/// ```
/// use camshaft::{embed::Handle, field};
///
/// struct Order { id: u64, customer: Customer }
/// struct Customer { name: String }
///
/// fn name(order: &Handle<Order>) -> Handle<String> {
///     field!(order.customer.name)
/// }
/// ```
#[macro_export]
macro_rules! field {
    ($handle:ident $(. $field:ident)+) => {
        $handle.project(&[$(stringify!($field)),+], |value| &value $(. $field)+)
    };
}

/// A text made of texts and of values that the run will have, in their order.
///
/// A value that is no text is written as JSON.
///
/// ```
/// use camshaft::{embed::{Handle, Text}, text};
///
/// fn question(count: &Handle<u64>) -> Text {
///     text!("Load ", count, " rows?")
/// }
/// ```
#[macro_export]
macro_rules! text {
    ($($part:expr),+ $(,)?) => {
        $crate::embed::Text::new(vec![$($crate::embed::AnyInput::given($part)),+])
    };
}

#[cfg(test)]
mod tests;
