//! What a text tells of the causes for which a session keeps its connection.

use bitflags::bitflags;

bitflags! {
    /// What may end, or change, something that a session has on its connection: the other side of [`Effects`].
    ///
    /// A flag is set whenever the text *may* do it; whether it did, its answer tells, or the server.
    ///
    /// [`Effects`]: crate::Effects
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Signals: u16 {
        /// `RELEASE_LOCK`, `RELEASE_ALL_LOCKS`.
        const RELEASES_USER_LOCK = 1 << 0;
        /// `HANDLER ... CLOSE`.
        const CLOSES_HANDLER     = 1 << 1;
        /// `DROP` of anything.
        const DROPS              = 1 << 2;
        /// `ALTER`, `RENAME`: what was called so may have another name afterwards.
        const RENAMES            = 1 << 3;
        /// `XA COMMIT`, `XA ROLLBACK`.
        const ENDS_XA            = 1 << 4;
        /// `UNLOCK INSTANCE`, MariaDB's `BACKUP UNLOCK`.
        const BACKUP_UNLOCK      = 1 << 5;
        /// MariaDB's `BACKUP STAGE`, but for its end.
        const BACKUP_STAGE       = 1 << 6;
        /// `BACKUP STAGE END`.
        const BACKUP_STAGE_END   = 1 << 7;
    }
}
