"""Addresses of sign-in, passwords and settings.

allauth's views under allauth's names, but only those used here: no sign-up, no management of e-mail addresses.
"""

from allauth.account import views as allauth
from django.urls import URLPattern, path, re_path

from apps.accounts import views

urlpatterns: list[URLPattern] = [
    path("i18n/setlang/", views.language_set, name="set_language"),
    path("workspaces/switch", views.workspace_switch, name="workspace_switch"),
    path("settings/", views.settings_home, name="settings"),
    path("settings/profile", views.profile, name="settings_profile"),
    path("settings/profile/email", views.profile_email, name="profile_email"),
    path("settings/members", views.member_list, name="settings_members"),
    path("settings/members/add", views.member_add, name="member_add"),
    path("settings/members/<str:username>/role", views.member_set_role, name="member_set_role"),
    path("settings/members/<str:username>/remove", views.member_remove, name="member_remove"),
    path("settings/members/<str:username>/password", views.member_reset_password, name="member_reset_password"),
    path("settings/workspaces/new", views.workspace_create, name="workspace_new"),
    path("settings/tokens", views.token_list, name="settings_tokens"),
    path("settings/tokens/<slug:token_id>/revoke", views.token_revoke, name="token_revoke"),
    path("settings/audit", views.audit_list, name="settings_audit"),
    path("accounts/login/", allauth.login, name="account_login"),
    path("accounts/logout/", allauth.logout, name="account_logout"),
    path("accounts/inactive/", allauth.account_inactive, name="account_inactive"),
    path("accounts/signup/", allauth.signup, name="account_signup"),  # answers that it is closed
    path("accounts/reauthenticate/", allauth.reauthenticate, name="account_reauthenticate"),
    path("accounts/password/change/", allauth.password_change, name="account_change_password"),
    path("accounts/password/reset/", allauth.password_reset, name="account_reset_password"),
    path("accounts/password/reset/done/", allauth.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        allauth.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "accounts/password/reset/key/done/",
        allauth.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
]
