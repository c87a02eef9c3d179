//! A run as one HTML page, complete in itself: it loads nothing, and shows the same in ten years.
//!
//! `timeline.rs` draws when attempts waited and ran, `curves.rs` what jobs announced before their end, `rows.rs` makes
//! the table of jobs, and `config.rs` prints the config. All texts go through `escape` of `html.rs`; the page forbids
//! scripts but its own. However large a run is, the page stays one that a browser opens at once.

mod config;
mod curves;
mod html;
mod rows;
pub mod timeline;

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use cu_core::{JobReport, RunDir, Status};
use cu_protocol::Timestamp;

use super::balance::Balance;
use super::failures::failures;
use super::lines::counts;
use super::summary;
use crate::text::moment::{local, rounded};
use html::escape;

pub use curves::sparkline;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page about a run, as it is at the moment `now`. A browser reloads it after `reload`.
pub fn page(
    run: &RunDir,
    status: &Status,
    jobs: &[JobReport],
    now: Timestamp,
    reload: Option<Duration>,
) -> String {
    let mut page = String::new();
    let reload = reload.map_or_else(String::new, |after| {
        let seconds = after.as_secs();
        format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n")
    });
    // A text that was not escaped would still be no script of this page.
    let nonce = format!("{:016x}", RandomState::new().hash_one(now.millis()));
    let name = escape(&status.name);
    let state = summary::run_state(status.state);
    // Writing to a String can't fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'nonce-{nonce}'\">\n{reload}\
         <title>{name}: {state}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <h1>{name} <span class=\"state {state}\">{state}</span></h1>\n"
    );
    facts(&mut page, status, now);
    page.push_str("</header>\n<main>\n");
    if let Some(balance) = Balance::of(jobs).in_words(run, status) {
        section(&mut page, "Where the time went", &paragraphs(&balance));
    }
    let failed = failures(status, jobs);
    if !failed.is_empty() {
        let text = format!("<pre>{}</pre>\n", escape(failed.trim_end()));
        section(&mut page, "Failures", &text);
    }
    section(&mut page, "Timeline", &timeline::timeline(run, jobs, now));
    let curves = curves::curves(run, jobs);
    if !curves.is_empty() {
        section(&mut page, "Metrics over time", &curves);
    }
    section(&mut page, "Jobs", &rows::table(jobs));
    section(&mut page, "Config", &config::of(run));
    let _ = write!(
        page,
        "</main>\n<footer>Written by cu {} on {}.</footer>\n<script nonce=\"{nonce}\">\n{SCRIPT}</script>\n\
         </body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        local(now)
    );
    page
}

fn facts(page: &mut String, status: &Status, now: Timestamp) {
    let mut facts = vec![
        ("jobs", counts(status)),
        ("made", local(status.created)),
        match status.ended {
            Some(ended) => ("ended", local(ended)),
            None => ("so far", rounded(now.since(status.created))),
        },
        ("attempts", status.attempts.to_string()),
        ("directory", status.run_dir.display().to_string()),
    ];
    if !status.backend.is_empty() {
        facts.push(("ran on", status.backend.clone()));
    }
    page.push_str("<dl>\n");
    for (name, value) in facts {
        let _ = writeln!(
            page,
            "<div><dt>{name}</dt><dd>{}</dd></div>",
            escape(&value)
        );
    }
    page.push_str("</dl>\n");
}

fn section(page: &mut String, title: &str, content: &str) {
    let _ = write!(page, "<section>\n<h2>{title}</h2>\n{content}</section>\n");
}

fn paragraphs(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| format!("<p>{}</p>\n", escape(line)));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::estimate::tests::status;
    use crate::view::summary::tests::report;
    use cu_core::JobState;
    use serde_json::json;

    fn of(jobs: &[JobReport]) -> String {
        let mut status = status(500);
        status.name = "a<b>".to_owned();
        page(
            &RunDir::new("/none"),
            &status,
            jobs,
            Timestamp::from_millis(100_000),
            None,
        )
    }

    #[test]
    fn no_text_of_a_job_becomes_markup() {
        let hostile = "</script><script>alert(1)</script>\"'&\u{202e}<svg onload=x>";
        let mut job = report(0, JobState::Failed, 2);
        job.parameters.insert(hostile.to_owned(), json!(hostile));
        job.why = hostile.to_owned();
        job.attempts[0].host = Some(hostile.to_owned());
        let page = of(&[job]);
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert_eq!(page.matches("</script").count(), 1, "{page}");
        assert!(
            !page.contains("onload=x>") && !page.contains('\u{202e}'),
            "{page}"
        );
        assert!(page.contains("&lt;/script&gt;"), "{page}");
        assert!(page.contains("<title>a&lt;b&gt;: "), "{page}");
    }

    #[test]
    fn a_page_about_many_jobs_stays_small() {
        let jobs: Vec<_> = (0..20_000)
            .map(|job| report(job, JobState::Completed, 3))
            .collect();
        let page = of(&jobs);
        assert!(page.len() < 4 << 20, "{} bytes", page.len());
        assert!(
            page.contains("of 20000 jobs"),
            "it says that rows are left out"
        );
    }
}
