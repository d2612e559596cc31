use super::*;
use camshaft_model::{ExecutionId, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

const KEY: AttemptKey = AttemptKey {
    execution: ExecutionId::new(Uuid::from_u128(5)),
    attempt: 1,
    epoch: 1,
};

fn attempt(stdout: Output) -> Attempt {
    Attempt {
        key: KEY,
        status: Status::Completed,
        worker: None,
        started_at: None,
        ended_at: Timestamp::default(),
        error: None,
        exit_code: Some(0),
        signal: None,
        stdout,
        stderr: Output::default(),
        output_lost: None,
    }
}

fn kept(stored: u64, inline: Option<&[u8]>) -> Attempt {
    attempt(Output {
        bytes: stored,
        stored,
        inline: inline.map(<[u8]>::to_vec),
        ..Output::default()
    })
}

fn folder(content: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(OutputStream::Stdout.log_file(&KEY));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
    dir
}

fn span(offset: u64, limit: u64) -> Span {
    Span { offset, limit }
}

#[tokio::test]
async fn small_output_is_cut_from_the_row() {
    let slice = of_ended(
        Path::new("/nowhere"),
        &kept(6, Some(b"a\0b\xffcd")),
        OutputStream::Stdout,
        span(1, 3),
    )
    .await;
    assert_eq!(
        (slice.bytes.as_slice(), slice.ended, slice.notes().as_str()),
        (&b"\0b\xff"[..], false, "")
    );
    let slice = of_ended(
        Path::new("/nowhere"),
        &kept(6, Some(b"a\0b\xffcd")),
        OutputStream::Stdout,
        span(4, 3),
    )
    .await;
    assert_eq!((slice.bytes.as_slice(), slice.ended), (&b"cd"[..], true));
    let slice = of_ended(
        Path::new("/nowhere"),
        &kept(6, Some(b"abcdef")),
        OutputStream::Stdout,
        span(u64::MAX, u64::MAX),
    )
    .await;
    assert_eq!((slice.bytes.len(), slice.ended), (0, true));
}

#[tokio::test]
async fn large_output_is_read_from_the_file() {
    let dir = folder(b"0123456789");
    let slice = of_ended(
        dir.path(),
        &kept(10, None),
        OutputStream::Stdout,
        span(3, 4),
    )
    .await;
    assert_eq!(
        (slice.bytes.as_slice(), slice.ended, slice.lost),
        (&b"3456"[..], false, None)
    );
    let slice = of_ended(
        dir.path(),
        &kept(10, None),
        OutputStream::Stdout,
        span(7, 100),
    )
    .await;
    assert_eq!((slice.bytes.as_slice(), slice.ended), (&b"789"[..], true));
}

#[tokio::test]
async fn what_is_missing_is_said_to_be_lost() {
    let dir = folder(b"0123");
    let slice = of_ended(
        dir.path(),
        &kept(10, None),
        OutputStream::Stdout,
        span(0, 100),
    )
    .await;
    assert_eq!(
        (slice.bytes.as_slice(), slice.ended, slice.notes().as_str()),
        (&b"0123"[..], true, "lost")
    );
    assert_eq!(
        slice.lost.as_deref(),
        Some("the log file has 4 of 10 bytes")
    );
    let slice = of_ended(
        Path::new("/nowhere"),
        &kept(10, None),
        OutputStream::Stdout,
        span(0, 100),
    )
    .await;
    assert_eq!(
        (slice.ended, slice.empty, slice.lost.is_some()),
        (true, false, true)
    );
}

#[tokio::test]
async fn an_attempt_that_wrote_nothing_is_empty() {
    let slice = of_ended(
        Path::new("/nowhere"),
        &kept(0, None),
        OutputStream::Stdout,
        span(0, 100),
    )
    .await;
    assert_eq!((slice.ended, slice.notes().as_str()), (true, "empty"));
    let mut disk_full = kept(0, None);
    disk_full.output_lost = Some("the disk was full".to_owned());
    let slice = of_ended(
        Path::new("/nowhere"),
        &disk_full,
        OutputStream::Stdout,
        span(0, 100),
    )
    .await;
    assert_eq!(slice.notes(), "lost");
}

#[tokio::test]
async fn while_it_runs_the_end_is_open() {
    let dir = folder(b"0123");
    let slice = of_unended(dir.path(), &KEY, OutputStream::Stdout, span(2, 100), false).await;
    assert_eq!(
        (slice.bytes.as_slice(), slice.ended, slice.lost),
        (&b"23"[..], false, None)
    );
    let slice = of_unended(
        Path::new("/nowhere"),
        &KEY,
        OutputStream::Stdout,
        span(0, 100),
        false,
    )
    .await;
    assert_eq!(slice, Slice::default());
    let slice = of_unended(dir.path(), &KEY, OutputStream::Stdout, span(2, 100), true).await;
    assert!(slice.ended && slice.lost.is_some());
}

#[test]
fn headings_are_plain_text() {
    let slice = Slice {
        lost: Some("kaputt: \u{e4}\n".to_owned()),
        bytes: vec![1, 2],
        ..Slice::default()
    };
    let heading = Heading {
        attempt: 2,
        attempts: 3,
        status: Status::Failed,
        offset: 5,
    };
    let response = slice.into_response(&heading);
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(
        header("camshaft-lost-reason").as_deref(),
        Some("kaputt: ??")
    );
    assert_eq!(header("camshaft-next-offset").as_deref(), Some("7"));
    assert_eq!(header("camshaft-status").as_deref(), Some("failed"));
    assert_eq!(
        header("content-type").as_deref(),
        Some("application/octet-stream")
    );
}

proptest! {
    #[test]
    fn slices_put_together_are_the_whole(bytes: Vec<u8>, limit in 1u64..20) {
        let mut whole = Vec::new();
        while (whole.len() as u64) < bytes.len() as u64 {
            whole.extend(cut(&bytes, span(whole.len() as u64, limit)));
        }
        prop_assert_eq!(whole, bytes);
    }

    #[test]
    fn any_span_is_answered(bytes: Vec<u8>, offset: u64, limit: u64) {
        prop_assert!(cut(&bytes, span(offset, limit)).len() <= bytes.len());
    }
}
