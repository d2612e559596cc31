//! Reading a folder into memory, within limits, and the hash that names its content.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use camshaft_model::definition::PackFiles;
use sha2::{Digest, Sha256};

use super::PackError;

/// The most bytes that one file of a pack may have.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// The most bytes that the files of a pack may have together.
const MAX_PACK_BYTES: u64 = 256 * 1024 * 1024;
/// The most files that a pack may have.
const MAX_FILES: usize = 20_000;
/// How deep folders may be nested.
const MAX_DEPTH: usize = 32;
/// What tools leave behind, which is no part of a pack.
const IGNORED: &[&str] = &[".git", "__pycache__", "node_modules"];

/// The files of a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// Content by path.
    pub files: PackFiles,
    /// The files that may be executed.
    pub executable: BTreeSet<PathBuf>,
}

impl Folder {
    /// The hash of paths, executable bits and contents, in hexadecimal. It names a version of a pack.
    pub fn hash(&self) -> String {
        hash_of(&self.files, &self.executable)
    }
}

/// The hash of files; each part is preceded by its length, so that no two lists of files agree.
pub fn hash_of(files: &PackFiles, executable: &BTreeSet<PathBuf>) -> String {
    let mut hasher = Sha256::new();
    for (path, content) in files {
        let name = path.as_os_str().as_bytes();
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update([u8::from(executable.contains(path))]);
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a path leads through something that is no part of a pack.
pub(super) fn is_ignored(path: &Path) -> bool {
    path.components()
        .any(|part| IGNORED.iter().any(|name| part.as_os_str() == *name))
}

/// Reads every file of a folder.
///
/// # Errors
/// The folder is not there, is too large, or has a link that leads out of it.
pub fn read(dir: &Path) -> Result<Folder, PackError> {
    if !dir.is_dir() {
        return Err(PackError::Missing(dir.to_owned()));
    }
    let root = dir.canonicalize().map_err(PackError::io(dir))?;
    let mut reader = Reader {
        root: &root,
        folder: Folder::default(),
        bytes: 0,
    };
    reader.folder(Path::new(""), 0)?;
    Ok(reader.folder)
}

struct Reader<'a> {
    root: &'a Path,
    folder: Folder,
    bytes: u64,
}

impl Reader<'_> {
    fn folder(&mut self, relative: &Path, depth: usize) -> Result<(), PackError> {
        let dir = self.root.join(relative);
        if depth > MAX_DEPTH {
            return Err(PackError::refused(
                &dir,
                format!("folders are nested more than {MAX_DEPTH} deep"),
            ));
        }
        for entry in fs::read_dir(&dir).map_err(PackError::io(&dir))? {
            let entry = entry.map_err(PackError::io(&dir))?;
            if IGNORED.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            self.entry(&relative.join(entry.file_name()), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, relative: &Path, depth: usize) -> Result<(), PackError> {
        let path = self.root.join(relative);
        let link = fs::symlink_metadata(&path)
            .map_err(PackError::io(&path))?
            .is_symlink();
        if link {
            let target = path.canonicalize().map_err(PackError::io(&path))?;
            if !target.starts_with(self.root) {
                return Err(PackError::refused(&path, "this link leads out of the pack"));
            }
        }
        // A link within the pack becomes what it leads to; links to folders in a circle end at the
        // limit of depth.
        let metadata = fs::metadata(&path).map_err(PackError::io(&path))?;
        if metadata.is_dir() {
            return self.folder(relative, depth + 1);
        }
        if !metadata.is_file() {
            return Err(PackError::refused(
                &path,
                "a pack has files and folders only",
            ));
        }
        self.file(relative, &path, &metadata)
    }

    fn file(
        &mut self,
        relative: &Path,
        path: &Path,
        metadata: &fs::Metadata,
    ) -> Result<(), PackError> {
        self.bytes += metadata.len();
        if metadata.len() > MAX_FILE_BYTES {
            return Err(PackError::refused(
                path,
                format!("the file has more than {} MiB", MAX_FILE_BYTES >> 20),
            ));
        }
        if self.bytes > MAX_PACK_BYTES {
            return Err(PackError::refused(
                self.root,
                format!("the pack has more than {} MiB", MAX_PACK_BYTES >> 20),
            ));
        }
        if self.folder.files.len() >= MAX_FILES {
            return Err(PackError::refused(
                self.root,
                format!("the pack has more than {MAX_FILES} files"),
            ));
        }
        let content = fs::read(path).map_err(PackError::io(path))?;
        if metadata.permissions().mode() & 0o111 != 0 {
            self.folder.executable.insert(relative.to_owned());
        }
        self.folder.files.insert(relative.to_owned(), content);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn pack() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("actions")).unwrap();
        fs::write(dir.path().join("pack.yaml"), "ref: demo").unwrap();
        fs::write(dir.path().join("actions/a.sh"), "echo").unwrap();
        dir
    }

    #[test]
    fn the_hash_changes_with_content_name_and_mode_and_with_nothing_else() {
        let dir = pack();
        let before = read(dir.path()).unwrap().hash();
        fs::create_dir(dir.path().join("__pycache__")).unwrap();
        fs::write(dir.path().join("__pycache__/x.pyc"), "x").unwrap();
        fs::write(dir.path().join("pack.yaml"), "ref: demo").unwrap();
        assert_eq!(read(dir.path()).unwrap().hash(), before);

        let file = dir.path().join("actions/a.sh");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let executable = read(dir.path()).unwrap().hash();
        fs::write(&file, "echo 2").unwrap();
        let content = read(dir.path()).unwrap().hash();
        fs::rename(&file, dir.path().join("actions/b.sh")).unwrap();
        let name = read(dir.path()).unwrap().hash();
        let all = BTreeSet::from([before, executable, content, name]);
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_byte_moved_from_one_file_to_the_next_changes_the_hash() {
        let of = |a: &str, b: &str| {
            let files =
                [("a", a), ("b", b)].map(|(n, c)| (PathBuf::from(n), c.as_bytes().to_vec()));
            hash_of(&files.into(), &BTreeSet::new())
        };
        assert_ne!(of("xy", "z"), of("x", "yz"));
    }

    #[test]
    fn links_out_of_the_pack_and_circles_are_refused() {
        let dir = pack();
        symlink("actions/a.sh", dir.path().join("link.sh")).unwrap();
        assert_eq!(
            read(dir.path()).unwrap().files[Path::new("link.sh")],
            b"echo"
        );
        symlink("/etc/hostname", dir.path().join("out")).unwrap();
        assert!(
            read(dir.path())
                .unwrap_err()
                .to_string()
                .contains("leads out of the pack")
        );
        fs::remove_file(dir.path().join("out")).unwrap();
        symlink(".", dir.path().join("circle")).unwrap();
        assert!(matches!(
            read(dir.path()),
            Err(PackError::Refused { .. } | PackError::Io { .. })
        ));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = read(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(error.to_string(), "there is no folder /nowhere/at/all");
    }
}
