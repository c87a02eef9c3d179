//! The `#SBATCH` lines of a script.

use super::words::read;
use super::{BatchOption, Origin};

/// The older of the two words is still read by sbatch.
const MAGIC: [&str; 2] = ["#SBATCH", "#SLURM"];
const OF_PBS: &str = "#PBS";

/// The options in the `#SBATCH` lines before the first command of a script, and `ignore-pbs` at most once.
///
/// # Errors
/// What is wrong with the script, in a sentence that names the line.
pub fn of_script(text: &[u8]) -> Result<Vec<BatchOption>, String> {
    check(text)?;
    let mut options = Vec::new();
    for (number, line) in (1..).zip(comments(text)) {
        let magic = MAGIC.iter().find_map(|magic| line.strip_prefix(magic));
        let Some(words) = magic else {
            continue;
        };
        let at_line = |reason: String| format!("line {number}: {reason}");
        let words = split(words).map_err(at_line)?;
        if let [word] = &words[..]
            && ["hetjob", "packjob"].contains(&word.as_str())
        {
            return Err(at_line(
                "a heterogeneous job can't be a chain; submit it with sbatch".to_owned(),
            ));
        }
        let read = read(&words, Origin::Script).map_err(at_line)?;
        if let Some(word) = read.rest.first() {
            return Err(at_line(format!("`{word}` is not an option of sbatch")));
        }
        options.extend(read.options.into_iter().map(|option| BatchOption {
            words: format!("#SBATCH {}", option.words),
            ..option
        }));
    }
    Ok(options)
}

/// The number of the first `#PBS` line, which sbatch would translate.
pub fn pbs_line(text: &[u8]) -> Option<usize> {
    let mut lines = (1..).zip(comments(text));
    let found = lines.find(|(_, line)| line.starts_with(OF_PBS));
    found.map(|(number, _)| number)
}

/// Whether there are `#SBATCH` lines before the first command.
pub fn has_lines(text: &[u8]) -> bool {
    comments(text).any(|line| line.starts_with(MAGIC[0]))
}

/// What sbatch checks.
fn check(text: &[u8]) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if !text.starts_with(b"#!") {
        return Err(
            "its first line must be `#!` and an interpreter, such as #!/bin/bash".to_owned(),
        );
    }
    if text.contains(&0) {
        return Err("it has a zero byte: it is not a script".to_owned());
    }
    if text.windows(2).any(|two| two == b"\r\n") {
        return Err("it has Windows line endings; convert them with `dos2unix`".to_owned());
    }
    Ok(())
}

/// The lines before the first command, a byte that is not UTF-8 replaced.
fn comments(text: &[u8]) -> impl Iterator<Item = String> {
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| String::from_utf8_lossy(line).into_owned());
    lines.take_while(|line| {
        let first = line.trim_start().chars().next();
        first.is_none_or(|first| first == '#')
    })
}

/// Splits a line into words, as sbatch does: with quotes and backslashes, up to a `#` outside quotes.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut letters = line.chars().peekable();
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        match letters.peek() {
            None | Some('#') => return Ok(words),
            Some(':') => {
                return Err(
                    "`:` would begin a heterogeneous job, which can't be a chain".to_owned(),
                );
            }
            Some(_) => {}
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(letter) = letters.next() {
            match (quote, letter) {
                (_, '\\') => word.extend(letters.next()),
                (Some(open), letter) if open == letter => quote = None,
                (None, '"' | '\'') => quote = Some(letter),
                (None, '#') => {
                    words.push(word);
                    return Ok(words);
                }
                (None, letter) if letter.is_whitespace() => break,
                (_, letter) => word.push(letter),
            }
        }
        if let Some(quote) = quote {
            return Err(format!("the quote {quote} is not closed"));
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(lines: &str) -> Vec<String> {
        let script = format!("#!/bin/bash\n{lines}");
        let options = of_script(script.as_bytes()).expect("a script");
        options.iter().map(BatchOption::word).collect()
    }

    #[test]
    fn lines_are_read_as_sbatch_reads_them() {
        for (lines, expected) in [
            (
                "#SBATCH --job-name \"a b\"  # why\n",
                &["--job-name=a b"][..],
            ),
            (
                "#SBATCH -n2#x\n#SBATCH --comment=a#b",
                &["--ntasks=2", "--comment=a"],
            ),
            ("#SBATCH --comment='a # b'", &["--comment=a # b"]),
            ("#SBATCH --comment=a\\ b\\#c", &["--comment=a b#c"]),
            ("#SBATCH --comment=\"a'b\"c", &["--comment=a'bc"]),
            ("##SBATCH --time=1\n #SBATCH --time=2\n# SBATCH -t3", &[]),
            ("#SBATCH--account=glued\n", &["--account=glued"]),
            ("#SBATCH\t--time=5\t--mem=10", &["--time=5", "--mem=10"]),
            ("#SLURM --time=3", &["--time=3"]),
            (
                "\n# text\n\n#SBATCH -t5:00\necho\n#SBATCH -t6",
                &["--time=5:00"],
            ),
            ("#SBATCH", &[]),
            ("#SBATCH # nothing", &[]),
            ("set -e\n#SBATCH -t6", &[]),
        ] {
            assert_eq!(options(lines), expected, "{lines}");
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (script, expected) in [
            ("", "it is empty"),
            ("#SBATCH -n1\n", "first line must be `#!`"),
            ("#!/bin/sh\r\necho\r\n", "dos2unix"),
            ("#!/bin/sh\n#SBATCH foo\n", "line 2: `foo` is not an option"),
            (
                "#!/bin/sh\n\n#SBATCH -c \"2\n",
                "line 3: the quote \" is not closed",
            ),
            ("#!/bin/sh\n#SBATCH hetjob\n", "line 2: a heterogeneous job"),
            ("#!/bin/sh\n#SBATCH -n1 : -n2\n", "line 2: `:` would begin"),
        ] {
            let error = of_script(script.as_bytes()).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_script_is_read_or_refused(lines in "#!/bin/sh\n(#SBATCH[^\0]{0,30}\n|[^\0]{0,10}\n){0,5}", rest: Vec<u8>) {
            let mut text = lines.into_bytes();
            text.extend(rest);
            let _ = of_script(&text);
            let _ = (pbs_line(&text), has_lines(&text));
        }

        #[test]
        fn quoted_words_are_read_as_they_were(words in prop::collection::vec("[^\0\n\\\\']{1,10}", 0..5)) {
            let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            prop_assert_eq!(split(&quoted.join(" ")).expect("words"), words);
        }
    }
}
