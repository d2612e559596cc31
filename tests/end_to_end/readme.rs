//! The README is true: its files are typed, its commands are run in order, and what they print is what
//! it says. `…` in it stands for anything; `[n]` on the last line is the exit status, 0 otherwise.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Engine, Site};

const README: &str = include_str!("../../README.md");
const ADDRESS: &str = "127.0.0.1:7410";

enum Block {
    File {
        path: String,
        text: String,
    },
    Command {
        line: String,
        expected: String,
        status: i32,
    },
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut fences = README.split("```");
    fences.next();
    while let (Some(fenced), _) = (fences.next(), fences.next()) {
        let (language, text) = fenced.split_once('\n').expect("a language and a text");
        match language {
            "yaml" => {
                let (title, _) = text.split_once('\n').expect("a first line");
                let path = title.strip_prefix("# ").expect("a file's name").to_owned();
                blocks.push(Block::File {
                    path,
                    text: text.to_owned(),
                });
            }
            "console" => blocks.extend(commands(text)),
            _ => {}
        }
    }
    blocks
}

fn commands(text: &str) -> Vec<Block> {
    let mut all = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            all.push(Block::Command {
                line: command.to_owned(),
                expected: String::new(),
                status: 0,
            });
        } else if let Some(Block::Command {
            expected, status, ..
        }) = all.last_mut()
        {
            match line
                .strip_prefix('[')
                .and_then(|l| l.strip_suffix(']'))
                .and_then(|n| n.parse().ok())
            {
                Some(code) => *status = code,
                None => {
                    expected.push_str(line);
                    expected.push('\n');
                }
            }
        }
    }
    all
}

/// Whether a text is what is expected, where `…` stands for any text.
fn fits(expected: &str, text: &str) -> bool {
    let mut parts = expected.trim_end().split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.trim_end().strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    for (position, part) in parts.iter().enumerate() {
        if position + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

fn run(line: &str, site: &Site, address: &str) -> (i32, String) {
    let binaries = Path::new(env!("CARGO_BIN_EXE_camshaft"))
        .parent()
        .expect("a folder");
    let path = format!(
        "{}:{}",
        binaries.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("{{ {}\n}} 2>&1", line.replace(ADDRESS, address)),
        ])
        .current_dir(site.path())
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env_remove("CAMSHAFT_API_URL")
        .env_remove("CAMSHAFT_TOKEN")
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let site = Site::new();
    // The reader stands in a folder of their own, where the engine keeps its data by default.
    std::os::unix::fs::symlink(site.data_dir(), site.path().join(".camshaft")).expect("linked");
    let mut engine: Option<(Engine, String)> = None;
    let mut ran = 0;
    for block in blocks() {
        match block {
            Block::File { path, text } => {
                let file = site.path().join(path);
                fs::create_dir_all(file.parent().expect("a folder")).expect("made");
                fs::write(file, text).expect("written");
            }
            Block::Command { line, .. } if line.ends_with('&') => {
                let mut started = site.starting(&[], &[]);
                let ready = started.wait_for("Camshaft is ready at http://");
                let address = ready
                    .split("http://")
                    .nth(1)
                    .and_then(|r| r.split(' ').next())
                    .expect("an address");
                let address = address.to_owned();
                engine = Some((started, address));
            }
            Block::Command {
                line,
                expected,
                status,
            } => {
                let address = engine.as_ref().map_or(ADDRESS, |(_, address)| address);
                let (code, text) = run(&line, &site, address);
                assert_eq!(code, status, "$ {line}\n{text}");
                assert!(
                    fits(&expected, &text),
                    "$ {line}\n--- expected\n{expected}\n--- printed\n{text}"
                );
                ran += 1;
            }
        }
    }
    assert!(ran > 15, "only {ran} commands were found");
    let (engine, _) = engine.expect("the README starts the engine");
    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn what_the_readme_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for target in README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        assert!(root.join(target).exists(), "{target}");
    }
    let makefile = fs::read_to_string(root.join("Makefile")).expect("a Makefile");
    for target in ["demo:", "test:"] {
        assert!(
            makefile.lines().any(|line| line.starts_with(target)),
            "{target}"
        );
    }
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    let mut written: Vec<String> = fs::read_dir(pages)
        .expect("a folder")
        .map(|page| {
            page.expect("a page")
                .path()
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    written.sort();
    let mut codes: Vec<String> = camshaft_model::ErrorCode::ALL
        .iter()
        .map(|code| code.to_string())
        .collect();
    codes.sort();
    assert_eq!(written, codes);
}

/// The keys that a decoder of definitions asks for, by its source.
fn asked_for(source: &str) -> BTreeSet<&str> {
    let calls = [".required(", ".optional(", ".nullable("];
    let after = calls.iter().flat_map(|call| source.split(call).skip(1));
    after
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect()
}

/// The words inside code spans of a text.
fn code_words(text: &str) -> BTreeSet<&str> {
    let is_code = |index: &usize| index % 2 == 1;
    let spans = text.split('`').enumerate().filter(|(n, _)| is_code(n));
    spans
        .flat_map(|(_, span)| span.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect()
}

#[test]
fn every_key_of_a_definition_is_documented_and_every_documented_key_is_read() {
    /// Only the core pack may say which sensor is behind a trigger.
    const INTERNAL: &[&str] = &["kind"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/packs.md")).expect("there");
    let decoders = root.join("crates/model/src/definition/authored");
    for (title, files) in [
        ("## `pack.yaml`", &["manifest"][..]),
        ("## `actions/*.yaml`", &["mod", "action", "entry_point"]),
        ("## `rules/*.yaml`", &["mod", "rule"]),
        ("## `triggers/*.yaml`", &["mod", "trigger"]),
        ("## `runtimes/*.yaml`", &["mod", "runtime"]),
    ] {
        let (_, section) = page.split_once(title).expect("a section");
        let section = section.split("\n## ").next().expect("its text");
        let sources: String = files
            .iter()
            .map(|name| fs::read_to_string(decoders.join(format!("{name}.rs"))).expect("a decoder"))
            .collect();
        let asked = asked_for(&sources);
        assert!(asked.len() >= 2, "{title}: {asked:?}");
        let said = code_words(section);
        let unsaid = asked.iter().filter(|key| !said.contains(*key));
        let unsaid: Vec<_> = unsaid.filter(|key| !INTERNAL.contains(key)).collect();
        assert!(unsaid.is_empty(), "{title} does not tell of {unsaid:?}");
        let tables = section.split("\n\n").filter(|part| {
            let part = part.trim_start();
            part.starts_with("| key |")
        });
        for row in tables.flat_map(|table| table.lines().filter(|row| row.starts_with("| `"))) {
            let key = row.split('`').nth(1).expect("a key");
            let key = key.rsplit('.').next().expect("its last part");
            let read = asked.contains(key) || ["ref", "description"].contains(&key);
            assert!(read, "{title}: nobody reads '{key}'");
        }
    }
}
