//! Whether the kernel killed something in our control group for want of memory. Best effort: where
//! control groups cannot be read, a kill for want of memory looks like any other kill.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;

/// How many processes the kernel has killed for want of memory in our control group so far.
pub(super) fn kills() -> Option<u64> {
    static COUNTER: OnceLock<Option<File>> = OnceLock::new();
    read(COUNTER.get_or_init(open).as_ref()?)
}

fn open() -> Option<File> {
    let membership = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    candidates(&membership).into_iter().find_map(|path| {
        let file = File::open(path).ok()?;
        read(&file).is_some().then_some(file)
    })
}

fn candidates(membership: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        if controllers.is_empty() {
            paths.push(format!("/sys/fs/cgroup{path}/memory.events").into());
        } else if controllers.split(',').any(|name| name == "memory") {
            paths.push(format!("/sys/fs/cgroup/memory{path}/memory.oom_control").into());
        }
    }
    // In a container with a view of its own the files are at the root.
    paths.push("/sys/fs/cgroup/memory.events".into());
    paths.push("/sys/fs/cgroup/memory/memory.oom_control".into());
    paths
}

fn read(file: &File) -> Option<u64> {
    let mut text = [0; 512];
    let length = file.read_at(&mut text, 0).ok()?;
    parse(std::str::from_utf8(&text[..length]).ok()?)
}

fn parse(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_the_counter_are_read() {
        assert_eq!(
            parse("low 0\nhigh 1\noom 3\noom_kill 2\noom_group_kill 9\n"),
            Some(2)
        );
        assert_eq!(
            parse("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"),
            Some(5)
        );
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_group_of_the_memory_controller_is_looked_up_first() {
        let paths = candidates("4:cpu,memory:/job\n0::/unit\nnonsense\n");
        assert_eq!(
            paths[0],
            PathBuf::from("/sys/fs/cgroup/memory/job/memory.oom_control")
        );
        assert_eq!(paths[1], PathBuf::from("/sys/fs/cgroup/unit/memory.events"));
    }
}
