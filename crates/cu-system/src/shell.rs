//! Text as a shell reads it: words and names.

/// `text` as one word that any shell of the sh family reads byte for byte. Text without a character that
/// means anything to a shell stays as it is, so that scripts and messages are easy to read.
///
/// ```
/// use cu_system::shell::quote;
///
/// assert_eq!(quote("/home/ada/digits-2"), "/home/ada/digits-2");
/// assert_eq!(quote("it's $5"), r"'it'\''s $5'");
/// ```
#[must_use]
pub fn quote(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Whether a shell can set a variable of this name: ASCII letters, digits and `_`, not beginning with a
/// digit.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_digit = |first: char| first.is_ascii_digit();
    !text.is_empty() && text.bytes().all(is_letter) && !text.starts_with(is_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn a_shell_reads_each_word_byte_for_byte(
            words in prop::collection::vec("[^\0]{0,12}|[-a-z=/ '~$*]{0,6}", 1..8),
        ) {
            let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
            let script = format!("printf '%s\\0' {}", quoted.join(" "));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let mut expected = words.join("\0").into_bytes();
            expected.push(0);
            prop_assert_eq!(output.stdout, expected);
        }
    }

    #[test]
    fn a_plain_word_is_left_readable_and_an_empty_one_is_not_lost() {
        assert_eq!(quote("/usr/bin/cu"), "/usr/bin/cu");
        assert_eq!(quote("--bind=/a:/b,100%"), "--bind=/a:/b,100%");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("~ada"), "'~ada'");
    }

    #[test]
    fn only_what_a_shell_can_set_is_a_name() {
        for name in ["A", "_a1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1A", "A-B", "A B", "ä", "A="] {
            assert!(!is_name(name), "{name}");
        }
    }
}
