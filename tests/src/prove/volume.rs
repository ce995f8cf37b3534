//! File systems of one's own: ext4 in a file, and one in memory with a size.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// Size of the image. It takes only what is written into it.
const IMAGE_MIB: u64 = 1_024;
/// The file system writes down by itself what nobody has synced, but not within these seconds: what an operating
/// system has not been asked to keep, it may have lost.
const COMMIT_SECONDS: u32 = 300;
/// Times that the image is copied until nothing was written meanwhile.
const COPIES_MAX: u32 = 20;
/// Times that a file system is given up, which takes a moment after the last process is gone.
const UNMOUNTS_MAX: u32 = 200;

/// Why no file system can be mounted here: only root can, and not in every container.
pub(super) fn why_not() -> Option<String> {
    let tried = Volume::new().and_then(|_| Small::new(1));
    tried.err().map(|error| format!("no file system can be mounted here: {error:#}"))
}

/// A folder in which a file system is mounted; given up when this is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// An ext4 file system in a file, mounted in a folder.
pub(super) struct Volume {
    mounted: Option<Mounted>,
    image: PathBuf,
    folder: TempDir,
}

impl Volume {
    pub(super) fn new() -> Result<Self> {
        let folder = open_to_all()?;
        let image = folder.path().join("image");
        File::create_new(&image)?.set_len(IMAGE_MIB << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        fs::create_dir(folder.path().join("mounted"))?;
        let mut volume = Self { mounted: None, image, folder };
        volume.mount()?;
        Ok(volume)
    }

    /// Where what is in it can be found.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn mount(&mut self) -> Result<()> {
        let options = format!("loop,commit={COMMIT_SECONDS}");
        let image = self.image.to_str().context("a readable name")?;
        mount(&["-t", "ext4", "-o", &options, image], &self.path())?;
        self.mounted = Some(Mounted(self.path()));
        Ok(())
    }

    /// Writes down all that is in it: for what Atrium has not to care for.
    pub(super) fn sync(&self) -> Result<()> {
        run(Command::new("sync").arg("--file-system").arg(self.path()))
    }

    /// What the disk would hold if the power failed now: a copy of the image, without anything that was written
    /// and not synced. Nobody writes meanwhile.
    pub(super) fn cut(&self) -> Result<Cut> {
        let copy = self.folder.path().join("cut");
        for _ in 0..COPIES_MAX {
            let before = self.written()?;
            run(Command::new("cp").args(["--sparse=always"]).arg(&self.image).arg(&copy))?;
            if self.written()? == before {
                return Ok(Cut(copy));
            }
        }
        bail!("the file system goes on writing although everybody is frozen")
    }

    /// The power is back, and the disk holds what it held when it failed. Nobody has a file open.
    pub(super) fn restore(&mut self, Cut(copy): Cut) -> Result<()> {
        self.mounted = None;
        fs::rename(copy, &self.image)?;
        self.mount()
    }

    /// The file system fails, and cannot be written to any more. Nobody is in the middle of a system call.
    pub(super) fn fail(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(self.path()))
    }

    /// Whoever looks after the machine has mounted it again. Nobody has a file open.
    pub(super) fn mend(&mut self) -> Result<()> {
        self.mounted = None;
        // 1: it has corrected something.
        let checked = Command::new("e2fsck").args(["-p"]).arg(&self.image).output()?;
        ensure!(checked.status.code().is_some_and(|code| code <= 1), "e2fsck: {checked:?}");
        self.mount()
    }

    /// How often something was written to the device.
    fn written(&self) -> Result<u64> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let path = self.path();
        let device = mounts.lines().find_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            (rest.split(' ').next() == path.to_str()).then_some(device)
        });
        let device = device.and_then(|it| it.rsplit('/').next()).context("a mounted device")?;
        let stat = fs::read_to_string(format!("/sys/block/{device}/stat"))?;
        // The fifth field: writes completed (the kernel's Documentation/block/stat.rst).
        Ok(stat.split_whitespace().nth(4).context("five fields")?.parse()?)
    }
}

/// What was on a disk when the power failed.
pub(super) struct Cut(PathBuf);

/// A file system in memory with a size, mounted in a folder.
pub(super) struct Small {
    _mounted: Mounted,
    folder: TempDir,
}

impl Small {
    pub(super) fn new(mib: u32) -> Result<Self> {
        let folder = open_to_all()?;
        let size = format!("size={mib}m,mode=755");
        mount(&["-t", "tmpfs", "-o", &size, "none"], folder.path())?;
        Ok(Self { _mounted: Mounted(folder.path().to_owned()), folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it to the last byte.
    pub(super) fn fill(&self) -> Result<()> {
        use std::io::Write as _;
        let mut ballast = File::create(self.ballast())?;
        for block in [vec![0; 1 << 20], vec![0; 4_096]] {
            while ballast.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    /// Makes room again.
    pub(super) fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }
}

/// A folder that other users can enter: PostgreSQL does not run as root.
pub(super) fn open_to_all() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("atrium-prove-").tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn mount(arguments: &[&str], at: &Path) -> Result<()> {
    run(Command::new("mount").args(arguments).arg(at))
}

fn unmount(path: &Path) {
    for _ in 0..UNMOUNTS_MAX {
        if run(Command::new("umount").arg(path)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("{} cannot be unmounted", path.display());
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?} cannot be run"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}
