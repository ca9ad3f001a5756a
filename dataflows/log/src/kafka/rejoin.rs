//! What a member does that the group has put out: a member with its name has joined, and the brokers refuse the one before
//! (they call it fenced). That is one of two things. The answer to a join of ours was lost, and nobody is behind the name that
//! the group knows now: the group forgets it when its session ends, and then we join again. Or another process has our name:
//! it keeps its session alive, and we give up, since joining would put it out in turn.

use std::time::Duration;

/// How often a member joins again that is put out again and again.
pub(super) const REJOINS_MAX: u32 = 3;
/// What a session's end may take beyond its timeout until the group shows it.
const MARGIN: Duration = Duration::from_secs(3);
/// How long a group that cannot be seen is asked.
const UNSEEN_MAX: Duration = Duration::from_secs(120);

/// Who has our name in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// A member.
    Taken,
    /// Nobody.
    Free,
    /// The brokers do not say.
    Unknown,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Look again a little later.
    Wait,
    /// Join.
    Join,
    /// Never join again, for this reason.
    GiveUp(String),
}

/// What to do, having been put out `since` ago, after so many times of joining again.
pub(super) fn next(name: Name, since: Duration, rejoins: u32, session_timeout: Duration) -> Next {
    if rejoins >= REJOINS_MAX {
        return Next::GiveUp(format!("it was put out {} times in a row", rejoins + 1));
    }
    match name {
        Name::Free => Next::Join,
        Name::Taken if since >= session_timeout + MARGIN => {
            Next::GiveUp("another process of this name is alive in the group".to_owned())
        }
        Name::Unknown if since >= UNSEEN_MAX.max(session_timeout + MARGIN) => {
            Next::GiveUp("the brokers do not say whether another process has this name".to_owned())
        }
        Name::Taken | Name::Unknown => Next::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_put_out_joins_again_when_the_name_is_free() {
        const SESSION: Duration = Duration::from_secs(45);
        let give_up = |why: &str| Next::GiveUp(why.to_owned());
        let table = [
            (Name::Free, 0, 0, Next::Join),
            (Name::Free, 500, 2, Next::Join),
            (Name::Free, 0, 3, give_up("it was put out 4 times in a row")),
            (Name::Taken, 0, 0, Next::Wait),
            (Name::Taken, 47, 2, Next::Wait),
            (Name::Taken, 48, 0, give_up("another process of this name is alive in the group")),
            (Name::Unknown, 48, 0, Next::Wait),
            (Name::Unknown, 119, 0, Next::Wait),
            (Name::Unknown, 120, 0, give_up("the brokers do not say whether another process has this name")),
            (Name::Unknown, 0, 3, give_up("it was put out 4 times in a row")),
        ];
        for (name, since, rejoins, expected) in table {
            let next = next(name, Duration::from_secs(since), rejoins, SESSION);
            assert_eq!(next, expected, "{name:?} for {since} s after {rejoins}");
        }
    }

    /// However the answers fall, it ends: it joins, or it gives up.
    #[test]
    fn nobody_waits_for_ever() {
        for session in [6, 45, 1800].map(Duration::from_secs) {
            for name in [Name::Taken, Name::Unknown] {
                assert!(matches!(next(name, UNSEEN_MAX + session + MARGIN, 0, session), Next::GiveUp(_)));
            }
        }
    }
}
