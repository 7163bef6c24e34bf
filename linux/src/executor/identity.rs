//! As whom a command runs.

use std::ffi::CString;
use std::fmt;

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};
use serde::{Deserialize, Serialize};

/// A user with all of its groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user's number.
    pub user: u32,
    /// Its first group.
    pub group: u32,
    /// All of its groups.
    pub groups: Vec<u32>,
}

impl Identity {
    /// Returns the user called `name`, or nothing if that is this process's own.
    ///
    /// Asks the machine's user database, which may take its time.
    ///
    /// # Errors
    /// [`NoUser`] if it is not known.
    pub fn find(name: &str) -> Result<Option<Self>, NoUser> {
        let unknown = || NoUser(name.to_owned());
        let user = User::from_name(name).ok().flatten().ok_or_else(unknown)?;
        if user.uid == geteuid() {
            return Ok(None);
        }
        let text = CString::new(name).map_err(|_| unknown())?;
        let groups = getgrouplist(&text, user.gid).map_err(|_| unknown())?;
        Ok(Some(Self {
            user: user.uid.as_raw(),
            group: user.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
        }))
    }

    pub(super) const fn ids(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.user), Gid::from_raw(self.group))
    }

    pub(super) fn all_groups(&self) -> Vec<Gid> {
        self.groups.iter().copied().map(Gid::from_raw).collect()
    }
}

/// The machine knows no user of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoUser(pub String);

impl fmt::Display for NoUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "this machine has no user {:?}", self.0)
    }
}

impl core::error::Error for NoUser {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(Identity::find("no-such-user"), Err(NoUser("no-such-user".to_owned())));
        let own = User::from_uid(geteuid()).unwrap().unwrap();
        assert_eq!(Identity::find(&own.name), Ok(None), "{}", own.name);
        let other = if geteuid().is_root() { "nobody" } else { "root" };
        let found = Identity::find(other).unwrap().unwrap();
        assert_ne!(found.user, geteuid().as_raw());
        assert!(found.groups.contains(&found.group), "{found:?}");
    }
}
