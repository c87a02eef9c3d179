//! `cu report`: one page that is valid HTML, loads nothing and holds no markup but its own.

use std::cell::RefCell;

use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, states::RawKind,
};

use crate::support::{Bench, WAIT};

/// What a browser reads: tags in their order, and mistakes.
#[derive(Default)]
struct Read {
    tags: RefCell<Vec<Tag>>,
    mistakes: RefCell<Vec<String>>,
    text: RefCell<String>,
}

impl TokenSink for Read {
    type Handle = ();

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<()> {
        match token {
            Token::TagToken(tag) => {
                let begins = tag.kind == TagKind::StartTag;
                let raw = match &*tag.name {
                    "script" if begins => Some(RawKind::ScriptData),
                    "style" if begins => Some(RawKind::Rawtext),
                    "title" if begins => Some(RawKind::Rcdata),
                    _ => None,
                };
                self.tags.borrow_mut().push(tag);
                if let Some(raw) = raw {
                    return TokenSinkResult::RawData(raw);
                }
            }
            Token::ParseError(mistake) => {
                self.mistakes
                    .borrow_mut()
                    .push(format!("line {line}: {mistake}"));
            }
            Token::CharacterTokens(text) => self.text.borrow_mut().push_str(&text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

/// Reads the page, whose tags must be closed in their order.
fn read(page: &str) -> Read {
    let input = BufferQueue::default();
    input.push_back(page.into());
    let tokenizer = Tokenizer::new(Read::default(), Default::default());
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let read = tokenizer.sink;
    assert_eq!(*read.mistakes.borrow(), [""; 0]);
    let mut open: Vec<String> = Vec::new();
    for tag in read.tags.borrow().iter() {
        let name = tag.name.to_string();
        match tag.kind {
            TagKind::StartTag if tag.self_closing || name == "meta" => {}
            TagKind::StartTag => open.push(name),
            TagKind::EndTag => assert_eq!(open.pop(), Some(name)),
        }
    }
    assert_eq!(open, [""; 0], "not closed");
    read
}

#[test]
fn a_hostile_run_makes_a_valid_page_of_its_own_markup() {
    let bench = Bench::new();
    let cu = env!("CARGO_BIN_EXE_cu");
    let script = format!(
        "#!/bin/sh\n{cu} job metrics loss=1 '<b>=2'\n{cu} job metrics loss=0.5\n\
         [ $CU_JOB_ID = 1 ] && echo '</pre><script>alert(2)</script>' >&2 && exit 1\n{cu} job finish loss=0.25\n"
    );
    bench.program("work.sh", &script);
    bench.write(
        "r.toml",
        "name = \"r\"\ncommand = [\"./work.sh\"]\nbackend.kind = \"local\"\n[settings]\n\
         note = \"</script><script>alert(1)</script>\"\n[grid]\nrate = [0.5, \"<img src=x onerror=alert(3)>\"]\n\
         [environment]\nAPI_TOKEN = \"s3cret\"\n",
    );
    assert_eq!(bench.cu(&["run", "r.toml"]).code, 1);
    let written = bench.json(&["report", "--json"]);
    assert!(
        written["file"]
            .as_str()
            .expect("a path")
            .ends_with("/r.html"),
        "{written}"
    );
    let page = bench.read("r.html");
    let found = read(&page);
    let tags = found.tags.borrow();
    let scripts = tags.iter().filter(|tag| &*tag.name == "script");
    assert_eq!(scripts.count(), 2, "one, with its end");
    for tag in tags.iter() {
        assert!(!matches!(&*tag.name, "img" | "link" | "iframe"), "{tag:?}");
        for attribute in &tag.attrs {
            let name = &*attribute.name.local;
            assert!(
                !matches!(name, "src" | "href") && !name.starts_with("on"),
                "{tag:?}"
            );
        }
    }
    let text = found.text.borrow();
    for expected in [
        "<img src=x onerror=alert(3)>",
        "</pre><script>alert(2)</script>",
        "job 1 failed (exit code 1)",
        "Metrics over time",
        "from 0.5 to 1, 2 jobs",
        "note = \"</script><script>alert(1)</script>\"",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(!page.contains("s3cret"), "{page}");
}

#[test]
fn only_an_earlier_report_is_overwritten() {
    let bench = Bench::new();
    bench.program("work.sh", "#!/bin/sh\ntrue\n");
    assert_eq!(bench.cu(&["run", "--name", "r", "--", "./work.sh"]).code, 0);
    assert_eq!(bench.cu(&["report"]).code, 0);
    assert_eq!(bench.cu(&["report", "r"]).code, 0);
    bench.write("thesis.html", "<!DOCTYPE html>\n<html><p>mine</html>");
    let refused = bench.cu(&["report", "-o", "thesis.html"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(bench.read("thesis.html").contains("mine"));
    let page = bench.cu(&["report", "-o", "-"]);
    read(&page.stdout);
}

#[test]
fn a_page_that_follows_a_run_is_reloaded_until_its_end() {
    const RELOADS: &str = "http-equiv=\"refresh\"";
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    let started = bench.cu(&["run", "--name", "r", "--detach", "--", "./wait.sh"]);
    assert_eq!(started.code, 0, "{started:?}");
    bench.wait_until_waiting("r");
    let refused = bench.cu(&["report", "--follow", "-o", "-"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let following = bench.start(&["report", "--follow"]);
    bench.wait_until("a page is there", |bench| bench.path("r.html").exists());
    let page = bench.read("r.html");
    assert!(
        page.contains(RELOADS) && page.contains("<title>r: running"),
        "{page}"
    );
    read(&page);
    bench.let_go("r");
    let ended = following.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let page = bench.read("r.html");
    assert!(
        !page.contains(RELOADS) && page.contains("<title>r: completed"),
        "{page}"
    );
    assert!(!bench.path("r.html.part").exists());
}
