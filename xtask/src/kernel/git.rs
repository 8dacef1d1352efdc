// SPDX-License-Identifier: GPL-2.0-only
//! A kernel source in somebody's git repository: `URL#REF`. Each URL has one repository in the cache, which holds the
//! last commit of every ref that was asked for, without its history, so that a later run fetches what is new only; and
//! each ref has a folder with its files, of which an update touches those that changed: builds stay incremental.

use camino::{Utf8Path, Utf8PathBuf};

use crate::cache::{Cache, Lock};
use crate::command::{Error, Output, Tool};
use crate::exit::{Code, coded};
use crate::kernel::recipe::which;
use crate::kernel::series::repo::INHERITED;
use crate::kernel::{sha, shape, unpacked};
use crate::progress::Progress;

/// Settings of git: a connection over HTTP without a thousand bytes a second is given up after a minute.
pub const PATIENCE: [&str; 2] = ["http.lowSpeedLimit=1000", "http.lowSpeedTime=60"];

/// Where the refs that were asked for are kept, under names of ours.
const REFS: &str = "refs/dm-pushback";

/// A ref of a repository, checked out.
#[derive(Debug)]
pub struct Checkout {
    /// Its files.
    pub dir: Utf8PathBuf,
    /// The repository: a URL without its password, or an absolute path.
    pub url: String,
    /// The commit.
    pub commit: String,
    /// Keeps other runs from moving it on; held as long as the files are read.
    _lock: Lock,
}

/// One repository of the cache.
struct Repository<'a> {
    /// The bare repository. Not below the files: kbuild must not find it, nor follow its state.
    dir: Utf8PathBuf,
    url: &'a str,
}

/// The newest files of a ref.
pub fn obtain(url: &str, reference: &str, cache: &Cache, progress: &Progress) -> anyhow::Result<Checkout> {
    let url = checked(url, reference)?;
    let told = shown(&url);
    // Another password opens the same repository.
    let key = sha::key(&[("url", &told)]);
    let lock = cache.lock(&format!("git-{key}"), progress)?;
    let home = cache.path("git").join(key);
    let name = sha::key(&[("ref", reference)]);
    let dir = home.join(&name);
    if !dir.exists() {
        cache.require_free(unpacked::SOURCE_BYTES, &format!("the source {told}#{reference}"))?;
    }
    let repository = Repository { dir: home.join("objects.git"), url: &url };
    let commit = if repository.dir.exists() {
        repository.unlock()?;
        repository.fetch(reference, &name, progress)?
    } else {
        // Published when it holds something: a URL that is wrong leaves nothing.
        let scratch = cache.scratch("git-")?;
        let first = Repository { dir: Utf8PathBuf::try_from(scratch.path().to_owned())?, url: &url };
        first.git(["init", "--quiet", "--bare", "--template="])?;
        let commit = first.fetch(reference, &name, progress)?;
        cache.publish(scratch, &repository.dir)?;
        fs_err::write(home.join("url"), &told)?;
        commit
    };
    repository.check_out(&commit, &name, &dir, cache)?;
    Ok(Checkout { dir, commit, _lock: lock, url: told })
}

/// A URL for messages and reports: without user and password.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match host.rsplit_once('@') {
        // Without him it is another account.
        Some((user, host)) if scheme.contains("ssh") => {
            format!("{}@{host}", user.split(':').next().unwrap_or_default())
        }
        Some((_, host)) => host.to_owned(),
        None => host.to_owned(),
    };
    format!("{scheme}://{host}{path}")
}

/// The URL as git takes it from any folder, if both look right.
fn checked(url: &str, reference: &str) -> anyhow::Result<String> {
    let usage = |text: String| Err(coded(Code::Usage, text));
    let told = shown(url);
    if which("git").is_none() {
        return Err(coded(
            Code::HostFailed,
            format!("{told} is a git repository, and this host has no git (hint: install it)"),
        ));
    }
    // That leaves nothing that has a meaning in a refspec.
    match Tool::new("git").args(["check-ref-format", "--allow-onelevel", reference]).read() {
        Ok(_) => {}
        Err(Error::Status { .. }) => {
            return usage(format!(
                "`{reference}` in {told}#{reference} is not the name of a branch, a tag or a commit (hint: URL#REF)"
            ));
        }
        Err(error) => return Err(error.into()),
    }
    let path = Utf8Path::new(url);
    if let Ok(absolute) = path.canonicalize_utf8() {
        return Ok(absolute.into_string());
    }
    let local = url.strip_prefix("file://").map(Utf8Path::new);
    let is_remote = url.contains("://") || url.split('/').next().is_some_and(|host| host.contains(':'));
    match local.or((!is_remote).then_some(path)) {
        Some(path) if !path.exists() => usage(format!("there is no repository {path}")),
        _ if url.is_empty() || url.starts_with('-') => {
            usage(format!("`{url}` is not the URL of a repository"))
        }
        _ => Ok(url.to_owned()),
    }
}

/// A command line that starts with git and may talk to a server: a connection that stalls is given up.
pub fn remote_git() -> Tool {
    // The user's configuration stays in force: it knows proxies and credentials. It must not change the files,
    // though, nor run something beside us.
    let tool = Tool::new("git").args(["-c", "core.autocrlf=false", "-c", "core.hooksPath=/dev/null"]);
    let tool = tool.args(["-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false"]);
    let tool = PATIENCE.into_iter().fold(tool, |tool, setting| tool.args(["-c", setting]));
    let tool = INHERITED.iter().fold(tool, Tool::env_remove);
    // Nobody is there to type a password.
    let tool = tool.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    match std::env::var_os("GIT_SSH_COMMAND") {
        None => tool.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
        Some(_) => tool,
    }
}

impl Repository<'_> {
    fn tool(&self) -> Tool {
        remote_git().args(["--git-dir", self.dir.as_str()])
    }

    fn git<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<Output, Error> {
        self.tool().args(args).read()
    }

    /// Removes git's own locks, which a run that was killed leaves: we hold the lock of this repository, so no git is alive that could
    /// have made them.
    fn unlock(&self) -> anyhow::Result<()> {
        for folder in [self.dir.clone(), self.dir.join(REFS)] {
            for entry in folder.read_dir_utf8().into_iter().flatten() {
                let path = entry?.into_path();
                if path.extension() == Some("lock") {
                    fs_err::remove_file(path)?;
                }
            }
        }
        Ok(())
    }

    /// Gets what is new of a ref and returns the commit, if that is one of a kernel source.
    fn fetch(&self, reference: &str, name: &str, progress: &Progress) -> anyhow::Result<String> {
        let what = format!("{}#{reference}", shown(self.url));
        let step = progress.step(format!("fetch {what}"));
        // Kept under a name of ours: it is what the next fetch starts from.
        let refspec = format!("+{reference}:{REFS}/{name}");
        self.tool()
            .args(["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--"])
            .args([self.url, &refspec])
            .run()
            .map_err(|error| refused(self.url, reference, &error))?;
        let commit = self.git(["rev-parse", "--verify", &format!("{REFS}/{name}^{{commit}}")]);
        let commit = commit.map_err(|_| coded(Code::Usage, format!("{what} is not a commit")))?.text;
        let args = ["ls-tree", "--name-only", &commit, "--"].into_iter().chain(shape::PARTS);
        let there = self.git(args)?.text;
        if let Some(part) = shape::PARTS.iter().find(|part| !there.lines().any(|line| line == **part)) {
            return Err(coded(
                Code::Usage,
                format!("{what} ({}) is not a Linux source tree: it has no {part}", &commit[..12]),
            ));
        }
        step.done(&commit[..12]);
        Ok(commit)
    }

    /// Makes `dir` show the files of a commit. An interrupted update is completed by the next one, before anybody
    /// looks at the files.
    fn check_out(&self, commit: &str, name: &str, dir: &Utf8Path, cache: &Cache) -> anyhow::Result<()> {
        let index = self.dir.join(format!("index-{name}"));
        let reset = |place: &Utf8Path| {
            self.tool()
                .args(["--work-tree", place.as_str(), "reset", "--quiet", "--hard", commit])
                .env("GIT_INDEX_FILE", index.as_str())
                .run()
        };
        if dir.exists() {
            reset(dir)?;
            return Ok(());
        }
        let _ = fs_err::remove_file(&index);
        let scratch = cache.scratch("git-")?;
        reset(&Utf8PathBuf::try_from(scratch.path().to_owned())?)?;
        cache.publish(scratch, dir)
    }
}

/// What git's refusal to fetch means: there is no such ref, or nobody answers.
fn refused(url: &str, reference: &str, error: &Error) -> anyhow::Error {
    let told = shown(url);
    let Error::Status { tail, .. } = error else {
        return coded(Code::HostFailed, error.to_string().replace(url, &told));
    };
    let no_such_ref =
        ["couldn't find remote ref", "not our ref", "unadvertised object", "no such remote ref"];
    if no_such_ref.iter().any(|sign| tail.contains(sign)) {
        return coded(
            Code::Usage,
            format!(
                "{told} has no branch, tag or commit {reference} (hint: a commit is named by all of its digits)"
            ),
        );
    }
    if url.starts_with('/') && tail.contains("does not appear to be a git repository") {
        return coded(Code::Usage, format!("{told} is not a git repository"));
    }
    let why = tail.lines().find(|line| line.starts_with("fatal: ")).or_else(|| tail.lines().last());
    let why = why.unwrap_or("git says nothing").trim_start_matches("fatal: ").trim_end_matches(':');
    coded(
        Code::HostFailed,
        format!("can't fetch from {told}: {why} (hint: is the URL right, and can this host reach it?)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    /// A repository with a kernel source, as far as [`shape::PARTS`] go, and a cache.
    struct Fixture {
        _dir: tempfile::TempDir,
        root: Utf8PathBuf,
        cache: Cache,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = Utf8PathBuf::try_from(dir.path().to_owned()).unwrap();
            let cache = Cache::at(&root.join("cache")).unwrap();
            let fixture = Self { _dir: dir, root, cache };
            fs_err::create_dir(fixture.upstream()).unwrap();
            fixture.git(&["init", "--quiet", "--initial-branch=master"]);
            shape::pretend(&fixture.upstream());
            // Does not compress, so that what a fetch brings can be told by its size.
            let noise: String = (0..5_000u32).map(|n| sha::bytes(&n.to_le_bytes())).collect();
            fixture.write("noise", &noise);
            fixture.commit("one");
            fixture
        }

        fn upstream(&self) -> Utf8PathBuf {
            self.root.join("upstream")
        }

        fn write(&self, file: &str, text: &str) {
            let file = self.upstream().join(file);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        }

        fn git(&self, args: &[&str]) -> String {
            let tool =
                Tool::new("git").cwd(self.upstream()).args(["-c", "user.name=x", "-c", "user.email=x@y"]);
            tool.args(args.iter().copied()).read().unwrap().text
        }

        fn commit(&self, subject: &str) -> String {
            self.git(&["add", "--all"]);
            self.git(&["commit", "--quiet", "--message", subject]);
            self.git(&["rev-parse", "HEAD"])
        }

        fn obtain(&self, url: &str, reference: &str) -> anyhow::Result<Checkout> {
            obtain(url, reference, &self.cache, &Progress::silent())
        }

        fn refused(&self, url: &str, reference: &str) -> (Code, String) {
            let error = self.obtain(url, reference).unwrap_err();
            (code_of(&error), format!("{error:#}").replace(self.root.as_str(), "DIR"))
        }

        /// Bytes of all objects that were fetched so far.
        fn bytes(&self) -> u64 {
            let files = walkdir::WalkDir::new(self.cache.path("git")).into_iter().map(Result::unwrap);
            let objects = files.filter(|file| file.path().to_string_lossy().contains("objects.git/objects/"));
            objects.filter(|file| file.file_type().is_file()).map(|file| file.metadata().unwrap().len()).sum()
        }
    }

    #[test]
    fn a_later_run_fetches_only_what_is_new_and_touches_only_what_changed() {
        use std::os::unix::fs::MetadataExt as _;
        let fixture = Fixture::new();
        let url = format!("file://{}", fixture.upstream());
        let first = fixture.obtain(&url, "master").unwrap();
        assert_eq!(shape::missing(&first.dir), None);
        let (dir, old) = (first.dir.clone(), first.commit.clone());
        drop(first);
        let inode = |file: &str| fs_err::metadata(dir.join(file)).unwrap().ino();
        let (noise, bytes) = (inode("noise"), fixture.bytes());
        assert!(bytes > 100_000, "{bytes}");

        fixture.write("drivers/md/dm.c", "2");
        fixture.write("drivers/md/new.c", "new");
        fs_err::remove_file(fixture.upstream().join("Kconfig")).unwrap();
        fixture.write("Kconfig", "");
        let new = fixture.commit("two");
        // Somebody was in the cache.
        fs_err::write(dir.join("Makefile"), "changed").unwrap();
        let second = fixture.obtain(&url, "master").unwrap();
        assert_eq!((&second.dir, &second.commit), (&dir, &new));
        let read = |file: &str| fs_err::read_to_string(dir.join(file)).unwrap();
        assert_eq!([read("drivers/md/dm.c"), read("drivers/md/new.c"), read("Makefile")], ["2", "new", ""]);
        assert_eq!(inode("noise"), noise);
        let more = fixture.bytes() - bytes;
        assert!(more < 10_000, "fetched {more} bytes for a change of a few");
        drop(second);

        // Another ref of the same repository has its own files, and nothing is fetched twice.
        fixture.git(&["tag", "--annotate", "--message", "x", "v1", &old]);
        let bytes = fixture.bytes();
        for reference in ["v1", old.as_str()] {
            let tagged = fixture.obtain(&url, reference).unwrap();
            assert_eq!(tagged.commit, old);
            assert!(tagged.dir != dir && !tagged.dir.join("drivers/md/new.c").exists());
        }
        assert!(fixture.bytes() - bytes < 10_000);
    }

    #[test]
    fn what_a_killed_run_leaves_is_in_nobodys_way() {
        let fixture = Fixture::new();
        let url = format!("file://{}", fixture.upstream());
        let first = fixture.obtain(&url, "master").unwrap().dir;
        let objects = first.with_file_name("objects.git");
        let name = first.file_name().unwrap();
        let locks = ["shallow.lock", "packed-refs.lock", "HEAD.lock", "config.lock"].map(str::to_owned);
        for lock in locks.iter().chain(&[format!("{REFS}/{name}.lock"), format!("index-{name}.lock")]) {
            fs_err::write(objects.join(lock), "").unwrap();
        }
        fixture.write("drivers/md/dm.c", "2");
        let new = fixture.commit("two");
        assert_eq!(fixture.obtain(&url, "master").unwrap().commit, new);
    }

    #[test]
    fn passwords_stay_out_of_reports() {
        for (url, told) in [
            ("https://me:secret@example.org:8/a@b.git", "https://example.org:8/a@b.git"),
            ("https://example.org", "https://example.org"),
            ("https://token@example.org/linux.git#next", "https://example.org/linux.git#next"),
            ("ssh://git:secret@example.org/linux.git", "ssh://git@example.org/linux.git"),
            ("git@example.org:linux.git", "git@example.org:linux.git"),
            ("file:///srv/linux.git", "file:///srv/linux.git"),
        ] {
            assert_eq!(shown(url), told);
        }
    }

    #[test]
    fn a_path_will_do() {
        let fixture = Fixture::new();
        assert_eq!(shape::missing(&fixture.obtain(fixture.upstream().as_str(), "master").unwrap().dir), None);
    }

    #[test]
    fn what_can_not_be_had_is_one_clear_error_and_leaves_nothing() {
        let fixture = Fixture::new();
        let url = format!("file://{}", fixture.upstream());
        fixture.git(&["checkout", "--quiet", "--orphan", "docs"]);
        fixture.git(&["rm", "--quiet", "-r", "-f", "."]);
        fixture.write("README", "no kernel");
        let docs = fixture.commit("docs");
        let (code, told) = fixture.refused(&url, "docs");
        assert_eq!(code, Code::Usage);
        assert_eq!(
            told,
            format!(
                "file://DIR/upstream#docs ({}) is not a Linux source tree: it has no Makefile",
                &docs[..12]
            )
        );
        for (url, reference, expected, part) in [
            (
                url.as_str(),
                "v9.9",
                Code::Usage,
                "file://DIR/upstream has no branch, tag or commit v9.9 (hint:",
            ),
            (
                &url,
                "0123456789012345678901234567890123456789",
                Code::Usage,
                "has no branch, tag or commit 0123456789",
            ),
            (
                &url,
                "a..b:c",
                Code::Usage,
                "`a..b:c` in file://DIR/upstream#a..b:c is not the name of a branch",
            ),
            (&url, "", Code::Usage, "`` in file://DIR/upstream# is not the name"),
            (&url, "a..b", Code::Usage, "`a..b` in file://DIR/upstream#a..b is not the name"),
            (&url, "x.lock", Code::Usage, "is not the name"),
            (&url, "x/", Code::Usage, "is not the name"),
            (&url, "--branch", Code::Usage, "is not the name"),
            (&url, "+x", Code::Usage, "has no branch, tag or commit +x"),
            ("file:///no/such/place", "master", Code::Usage, "there is no repository /no/such/place"),
            ("no/such/place", "master", Code::Usage, "there is no repository no/such/place"),
            (fixture.cache.root().as_str(), "master", Code::Usage, "DIR/cache is not a git repository"),
            // TCP port 1 of this host: nobody listens there.
            (
                "git://127.0.0.1:1/linux.git",
                "master",
                Code::HostFailed,
                "can't fetch from git://127.0.0.1:1/linux.git: ",
            ),
        ] {
            let (code, told) = fixture.refused(url, reference);
            assert_eq!(code, expected, "{told}");
            assert!(told.contains(part) && !told.contains('\n'), "{told}");
        }
        for folder in ["git", "tmp"] {
            let left = fixture.cache.path(folder).read_dir_utf8().into_iter().flatten();
            assert_eq!(left.count(), 0, "something is left in {folder}");
        }
    }
}
