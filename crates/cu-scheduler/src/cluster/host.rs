//! Names of hosts, as nodes and schedulers give them.

/// Whether two names are of one host: the same, or one is the first part of the other.
pub fn is_same_host(one: &str, other: &str) -> bool {
    let begins = |long: &str, short: &str| {
        let rest = long.strip_prefix(short);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    !one.is_empty() && !other.is_empty() && (begins(one, other) || begins(other, one))
}
