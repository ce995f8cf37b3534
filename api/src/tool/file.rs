//! Files that are there whole, or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tempfile::NamedTempFile;

/// What the name of a file ends in that is not whole yet. One that lies about is from a command that was
/// killed, and can be deleted.
pub(crate) const PARTIAL: &str = ".partial";

/// A file that gets its name when it is whole and on disk. Until then it lies beside, and it is gone when
/// this is dropped. Only its owner can read it.
pub(crate) struct Partial {
    file: NamedTempFile,
    folder: PathBuf,
    target: PathBuf,
}

impl Partial {
    /// An empty one. What is there already is never replaced.
    pub(crate) fn beside(target: &Path) -> Result<Self> {
        if target.exists() {
            bail!("{} is there already; name another file", target.display());
        }
        let name = target
            .file_name()
            .with_context(|| format!("{} is no name of a file", target.display()))?;
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        let file = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(PARTIAL)
            .tempfile_in(&folder)
            .with_context(|| format!("no file can be made in {}", folder.display()))?;
        Ok(Self { file, folder, target: target.to_owned() })
    }

    /// Where it lies meanwhile.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// To be written to.
    pub(crate) fn writer(&self) -> Result<File> {
        Ok(self.file.as_file().try_clone()?)
    }

    /// Puts it on disk, and under its name; gives how many bytes it has.
    pub(crate) fn finish(self) -> Result<u64> {
        let cannot = || format!("{} cannot be written", self.target.display());
        // Another program may have written it, under the same name.
        let file = File::open(self.file.path()).with_context(cannot)?;
        file.sync_all().with_context(cannot)?;
        let bytes = file.metadata()?.len();
        let renamed = self.file.persist_noclobber(&self.target);
        renamed.map_err(|error| error.error).with_context(cannot)?;
        File::open(&self.folder)?.sync_all().with_context(cannot)?;
        Ok(bytes)
    }
}

/// A SQLite file, and those that SQLite puts beside it.
pub(crate) fn beside_sqlite(file: &Path) -> impl Iterator<Item = PathBuf> {
    ["", "-wal", "-shm", "-journal"].into_iter().map(|end| {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}

/// What a command makes in a data folder, and takes away again if nothing comes of it.
pub(crate) struct Begun {
    /// Where it was not there before.
    folder: Option<PathBuf>,
    files: Vec<PathBuf>,
}

impl Begun {
    /// Only the folder itself.
    pub(crate) fn with_folder(folder: &Path) -> Self {
        let folder = if folder.exists() { None } else { Some(folder.to_owned()) };
        Self { folder, files: Vec::new() }
    }

    /// The folder, and a SQLite file with what comes with it.
    pub(crate) fn with_sqlite(folder: &Path, file: &Path) -> Self {
        let files = beside_sqlite(file).chain([file.with_extension("lock")]);
        let files = if file.exists() { Vec::new() } else { files.collect() };
        let mut begun = Self::with_folder(folder);
        begun.files = files;
        begun
    }

    /// Something has come of it.
    pub(crate) fn keep(mut self) {
        self.folder = None;
        self.files.clear();
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // What cannot be taken away is no worse than what is reported anyway.
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
